#!/bin/sh
# Removes the devices of that name.
ids=$(@HEADSCALE@ nodes list -o json | jq -r '.[] | select(.given_name | startswith("@NAME@")) | .id') || exit 1
for id in $ids; do
  @HEADSCALE@ nodes delete -i "$id" --force || exit 1
done
