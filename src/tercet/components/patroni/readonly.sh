#!/bin/sh
# Exits with 0 if PostgreSQL is down and may be started as a standby. With the argument "start", starts it.
pid=$(head -n 1 @DATA@/postmaster.pid 2>/dev/null)
[ "$(cat "/proc/${pid#-}/comm" 2>/dev/null)" != postgres ] || exit 1
[ -s @DATA@/global/pg_control ] || exit 1
# The paused state is in the copy of the dynamic configuration that Patroni keeps with the data.
! grep -q '"pause": *true' @DATA@/patroni.dynamic.json 2>/dev/null || exit 1
# nodeside/rewind.py leaves the directory's inode there while it changes the data.
[ "$(head -n 1 @DATA@.rewinding 2>/dev/null | cut -d ' ' -f 1)" != "$(stat -c %i @DATA@)" ] || exit 1
[ "$1" = start ] || exit 0
# A primary may have WAL that the next primary lacks. Patroni checks this only when it changes the primary that a
# running standby follows. If the next primary is the one that this node followed before, there would be nothing to
# change.
[ -e @DATA@/standby.signal ] || echo "primary_conninfo = ''" >> @DATA@/postgresql.conf || exit 1
: >> @DATA@/standby.signal || exit 1
exec @PROGRAMS@/postgres -D @DATA@
