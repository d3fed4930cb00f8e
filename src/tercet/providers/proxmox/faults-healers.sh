#!/bin/bash
# Prints the server's clock, in seconds since its start, and "PID KIND VMID END" for each healer, END on that clock.
# Argument: platform.
cut -d ' ' -f 1 /proc/uptime
pgrep -fa " tercet-healer $1 (kill|freeze) [0-9]+ [0-9.]+ [0-9.]+$" | sed -nE \
    's/^([0-9]+) .* tercet-healer [^ ]+ (kill|freeze) ([0-9]+) [0-9.]+ ([0-9.]+)$/\1 \2 \3 \4/p'
