#!/bin/sh
# Runs as PostgreSQL's own user, so the part that file systems reserve for root stays free, as on a real full disk.
free=$(df --output=avail -B1 @DATA@ | tail -1)
runuser -u postgres -- fallocate -l "$free" @FILL@ || true
runuser -u postgres -- dd if=/dev/zero of=@FILL@.rest bs=64k status=none 2>/dev/null
true
