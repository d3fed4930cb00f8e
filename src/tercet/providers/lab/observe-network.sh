#!/bin/sh
# Prints what there is in the lab's namespace, in five parts.
ip -j address show; echo @MARK@
nft -j list ruleset 2>/dev/null; echo @MARK@
tc -j qdisc show; echo @MARK@
cat /proc/sys/net/ipv4/ip_forward; echo @MARK@
cat /proc/net/netfilter/nfnetlink_queue 2>/dev/null; true
