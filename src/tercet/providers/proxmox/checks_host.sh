#!/bin/bash
# Prints what a server has, as NAME=VALUE.
echo "user=$(id -u)"
command -v pct >/dev/null && echo pct=yes
[ -c /dev/net/tun ] && echo tun=yes
echo "cgroup=$(stat -fc %T /sys/fs/cgroup)"
echo "userns=$(cat /proc/sys/user/max_user_namespaces)"
echo "package=$(dpkg-query -W -f '${Version}' pve-container 2>/dev/null)"
{ modprobe -n nf_tables 2>/dev/null || [ -d /proc/sys/net/netfilter ]; } && echo nft=yes
