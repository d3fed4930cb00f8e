#!/bin/sh
# Starts a container. Arguments: its port, the folder of all containers, its name, its log, its control group.
# A living container may be unplugged: then the tool was killed between taking its cable down and killing it.
# A cable of the same name may be left for a moment when LXC's process was killed with the container.
if grep -qs "populated 1" "/sys/fs/cgroup/$5/cgroup.events"; then exec ip link set "$1" up; fi
ip link delete "$1" 2>/dev/null
exec lxc-start --lxcpath "$2" --name "$3" --daemon --logfile "$4" --logpriority WARN
