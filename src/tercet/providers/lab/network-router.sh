#!/bin/sh
# Makes the namespace a router. Packets between sites may come from an address that this device would not answer to:
# that is what routing is.
set -e
cd /proc/sys/net/ipv4
echo 1 > ip_forward
for conf in conf/all conf/default; do echo 0 > $conf/rp_filter; echo 0 > $conf/send_redirects; done
ip link set lo up
