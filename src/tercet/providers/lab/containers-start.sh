#!/bin/sh
# Starts a container. Arguments: its port, the folder of all containers, its name, its log, its control group; then the
# command that mounts its root.
# A living container may be unplugged: then the tool was killed between taking its cable down and killing it.
# A cable of the same name may be left for a moment when LXC's process was killed with the container.
port=$1 labs=$2 name=$3 log=$4 group=$5
shift 5
# A healer may come at the same moment. A second overlay would take the first one's work directory away.
exec 9< "$labs/$name" && flock 9 || exit
if grep -qs "populated 1" "/sys/fs/cgroup/$group/cgroup.events"; then exec ip link set "$port" up; fi
ip link delete "$port" 2>/dev/null
"$@" || exit
# Root in the container may lower the priority of its units, but not raise it. So PID 1 starts with the highest.
renice -n @NICE@ -p $$ >/dev/null
# LXC would have newuidmap map the IDs, which asks /etc/subuid. Where it finds no such program, it does so itself.
lxc=$(command -v lxc-start)
PATH=/nonexistent "$lxc" --lxcpath "$labs" --name "$name" --daemon --logfile "$log" --logpriority WARN 9<&-
