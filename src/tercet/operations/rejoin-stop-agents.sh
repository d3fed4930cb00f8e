#!/bin/sh
# Stops the agents of a node that comes back. Agents that ran all the time are bound to the node's old address in the
# tailnet; `up` starts them again when there is a new one. Arguments: the units.
for unit in "$@"; do
  ! systemctl -q is-active "$unit" || systemctl stop "$unit" || exit 1
done
