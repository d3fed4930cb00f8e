#!/bin/sh
# Prints the kernel's TCP settings that can be set here, with their values. Arguments: their names.
cd /proc/sys/net/ipv4 || exit 1
for name in "$@"; do [ ! -w "$name" ] || echo "$name $(cat "$name")"; done
