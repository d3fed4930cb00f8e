#!/bin/sh
# Exits with 3 and the reason on standard error for a disk that other nodes share, or a large one: these are not filled.
set -e
largest=@LARGEST_GIB@
type=$(stat -f -c %T @DATA@)
case $type in overlayfs | tmpfs | ramfs)
  echo "its data lies on $type, which other nodes share; give it a file system of its own" >&2
  exit 3
  ;;
esac
size=$(df --output=size -BG @DATA@ | tail -1 | tr -dc 0-9)
if [ "$size" -gt "$largest" ]; then
  echo "its data lies on a disk of $size GiB; at most $largest GiB are filled" >&2
  exit 3
fi
