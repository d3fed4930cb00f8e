#!/bin/sh
# Prints what Patroni reports about its member, and the primary's values in the member's control file.
# Argument: the URL of the member.
values=$(@BIN@/pg_controldata -D @DATA@ | sed -n 's/^\(max_[a-z_]*\) setting: *\([0-9]*\)$/\1 \2/p') || exit 1
curl -sf -m 2 --cacert @CA@ "$1" | jq -c --arg values "$values" '. + {values_of_primary: ($values | split("\n"))}'
