#!/bin/sh
# Prints the units whose programs listen at an address of the tailnet that this node no longer has, as "UNIT at
# ADDRESS", one a line. With the argument "restart", restarts them instead. While the node has no address in the
# tailnet, there are none: the old address may come back, and the programs then work as before.
own=$(ip -4 -o address show dev @INTERFACE@ 2>/dev/null | sed 's|.* inet \([0-9.]*\).*|\1|')
[ -n "$own" ] || exit 0
stale=$(ss -4Hltnp src @TAILNET@ | while read -r _ _ _ local _ process; do
  address=${local%:*}
  [ "$address" != "$own" ] || continue
  for pid in $(echo "$process" | grep -oE 'pid=[0-9]+'); do
    unit=$(sed -n 's|^0::.*/||p' "/proc/${pid#pid=}/cgroup" 2>/dev/null)
    case $unit in *.service) echo "$unit ${pid#pid=} $address" ;; esac
  done
done)
[ -n "$stale" ] || exit 0
if [ "${1:-}" = restart ]; then
  # PostgreSQL outlives its unit. It ends here, and Patroni starts it again.
  echo "$stale" | while read -r unit pid _; do
    [ "$(systemctl show --property=MainPID --value "$unit")" = "$pid" ] || kill -INT "$pid"
  done
  echo "$stale" | cut -d' ' -f1 | sort -u | xargs systemctl restart --no-block
else
  echo "$stale" | sed 's/ .* / at /' | sort -u
fi
