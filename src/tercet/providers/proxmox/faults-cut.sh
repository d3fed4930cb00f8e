#!/bin/sh
# Cuts the ways to nodes, or joins them again. Existing elements get the new time.
# Arguments: "cut" or "join", seconds, "both" or "one", then the names of nodes.
verb=$1 seconds=$2 ways=$3; shift 3
{
    echo "add table @TABLE@"
    for set in to from; do echo "add set @TABLE@ $set { type ipv4_addr; flags timeout; }"; done
    echo "add chain @TABLE@ output { type filter hook output priority -5; policy accept; }"
    echo "add chain @TABLE@ input { type filter hook input priority -5; policy accept; }"
    echo "flush chain @TABLE@ output"
    echo "flush chain @TABLE@ input"
    echo "add rule @TABLE@ output oifname tailscale0 ip daddr @to drop"
    echo "add rule @TABLE@ input iifname tailscale0 ip saddr @from drop"
    for name; do
        address=$(awk -v name="$name" '$2 == name { print $1; exit }' /etc/hosts)
        [ -n "$address" ] || { echo "no address of $name in /etc/hosts" >&2; exit 1; }
        for set in to $([ "$ways" = both ] && echo from); do
            echo "add element @TABLE@ $set { $address }"
            echo "delete element @TABLE@ $set { $address }"
            [ "$verb" = join ] || echo "add element @TABLE@ $set { $address timeout ${seconds}s }"
        done
    done
} > /run/tercet-cut.nft && nft -f /run/tercet-cut.nft
