#!/bin/sh
# Makes keys of nodes expire, or deletes nodes.
# Arguments: "expire" or "delete", then NAME=ADDRESS of each node. Both must match: a name may have an old entry.
verb=$1; shift
listed=$(@HEADSCALE@ nodes list -o json) || exit 1
for node in "$@"; do
  for id in $(printf '%s' "$listed" | jq -r --arg name "${node%%=*}" --arg address "${node#*=}" \
      '.[] | select(.name == $name and (.ip_addresses | index($address))) | .id'); do
    @HEADSCALE@ nodes "$verb" -i "$id" --force || exit 1
  done
done
