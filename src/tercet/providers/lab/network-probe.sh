#!/bin/sh
# Prints "netem" if the kernel has it.
ip link add tercet-probe type bridge || exit 2
tc qdisc add dev tercet-probe root netem delay 1ms 2>/dev/null && echo netem
ip link del tercet-probe
