#!/bin/sh
# Prints a key with which nodes join the tailnet, valid for at least five minutes. Argument: their tag. One key is
# enough for a whole `up`: a separate key for each of nine nodes would cost nine times three starts of a large program.
# The key lives five minutes longer than it is handed out, in a file that only root can read and that a restart removes.
umask 077; exec 9>/run/tercet-join.lock; flock -w 15 9 || exit 1
if [ -z "$(find /run/tercet-join.key -mmin -5 2>/dev/null)" ]; then
  @HEADSCALE@ users create @USER@ >/dev/null 2>&1
  id=$(@HEADSCALE@ users list -o json | jq -r '.[] | select(.name == "@USER@") | .id') || exit 1
  @HEADSCALE@ preauthkeys create --reusable --user "$id" --tags "$1" --expiration 10m -o json \
    | jq -er .key > /run/tercet-join.new || exit 1
  mv /run/tercet-join.new /run/tercet-join.key
fi
cat /run/tercet-join.key
