#!/bin/sh
# Loses some of the packets between this node and others. A table of its own: a cut and a loss are two faults.
# Arguments: percent, 0 to end it, seconds, then the names of nodes.
percent=$1 seconds=$2; shift 2
{
    echo "add table @TABLE@"
    echo "delete table @TABLE@"
    if [ "$percent" -gt 0 ]; then
        echo "add table @TABLE@"
        echo "add set @TABLE@ to { type ipv4_addr; flags timeout; }"
        for rule in "output oifname tailscale0 ip daddr" "input iifname tailscale0 ip saddr"; do
            chain=${rule%% *}
            echo "add chain @TABLE@ $chain { type filter hook $chain priority -5; policy accept; }"
            echo "add rule @TABLE@ $rule @to numgen random mod 100 < $percent drop"
        done
        for name; do
            address=$(awk -v name="$name" '$2 == name { print $1; exit }' /etc/hosts)
            [ -n "$address" ] || { echo "no address of $name in /etc/hosts" >&2; exit 1; }
            echo "add element @TABLE@ to { $address timeout ${seconds}s }"
        done
    fi
} > /run/tercet-loss.nft && nft -f /run/tercet-loss.nft
