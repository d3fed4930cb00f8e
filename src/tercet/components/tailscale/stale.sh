#!/bin/sh
# Prints the units whose programs listen at an address of the tailnet that this node no longer has, as "UNIT at
# ADDRESS", one a line.
# With the argument "restart", restarts them instead. While the node has no address in the tailnet, there are none: the
# old address may come back, and the programs then work as before.
own=$(ip -4 -o address show dev @INTERFACE@ 2>/dev/null | sed 's|.* inet \([0-9.]*\).*|\1|')
[ -n "$own" ] || exit 0
stale=$(ss -4Hltnp src @TAILNET@ | while read -r _ _ _ local _ process; do
  address=${local%:*}
  [ "$address" != "$own" ] || continue
  for pid in $(echo "$process" | grep -oE 'pid=[0-9]+'); do
    unit=$(sed 's|.*/||' "/proc/${pid#pid=}/cgroup" 2>/dev/null)
    case $unit in *.service) echo "$unit at $address" ;; esac
  done
done | sort -u)
case ${1:-} in
  restart) echo "$stale" | sed 's/ at .*//' | sort -u | xargs -r systemctl restart ;;
  *) echo "$stale" ;;
esac
