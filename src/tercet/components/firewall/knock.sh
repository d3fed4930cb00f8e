#!/bin/sh
# Tries to connect as a user, to all doors at once. Prints a line for each that answers within 2 s: "open DOOR" or
# "refused DOOR". Arguments: the user, and ADDRESS:PORT of each door.
user=$1
shift
# shellcheck disable=SC2016 # bash expands it
runuser -u "$user" -- timeout 2 bash -c '
  for door in "$@"; do
    if (exec 3<> "/dev/tcp/${door%:*}/${door##*:}") 2> /dev/null; then echo "open $door"; else echo "refused $door"; fi &
  done
  wait' bash "$@"
true
