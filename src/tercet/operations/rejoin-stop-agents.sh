#!/bin/sh
# Stops the agents of a node that comes back. What ran all the time is bound to the address that the node had in the
# tailnet; `up` starts it again when there is a new one. Arguments: the units.
for unit in "$@"; do
  ! systemctl -q is-active "$unit" || systemctl stop "$unit" || exit 1
done
