#!/bin/sh
# Prints what Patroni says of its member, and the values of the primary that the member's control file holds.
# Argument: the URL of the member.
values=$(@BIN@/pg_controldata -D @DATA@ | sed -n 's/^\(max_[a-z_]*\) setting: *\([0-9]*\)$/\1 \2/p') || exit 1
curl -sf -m 2 "$1" | jq -c --arg values "$values" '. + {values_of_primary: ($values | split("\n"))}'
