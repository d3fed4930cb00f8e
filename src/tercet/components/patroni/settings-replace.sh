#!/bin/sh
# Replaces the configuration by the one on standard input. Then waits until every member that answers has run a complete
# cycle of Patroni's loop after the one in which it saw the change. Only then, `pending_restart` is correct for the new
# settings. Arguments: Patroni's loop_wait, then the URL of each member.
patronictl -c @CONFIG@ edit-config --force --replace - || exit 1
loop_wait=$1; shift
seen_by() { curl -sf -m 2 --cacert @CA@ "$1" | jq -r '.dcs_last_seen // 0'; }
changed=$(date +%s); deadline=$((changed + 3 * loop_wait + 6))
for member in "$@"; do
  while last=$(seen_by "$member") && [ -n "$last" ] && [ "$last" -le $((changed + loop_wait)) ]; do
    [ "$(date +%s)" -lt "$deadline" ] || break
    sleep 0.3
  done
done
