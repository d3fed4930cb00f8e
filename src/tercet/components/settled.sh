#!/bin/sh
# Succeeds as soon as the command in the arguments does, and fails if it has not after two seconds.
left=10
until "$@"; do
  [ $((left -= 1)) -gt 0 ] || exit 1
  sleep 0.2
done
