#!/bin/sh
# Stops Patroni and PostgreSQL. Patroni stops its PostgreSQL; if Patroni is dead, PostgreSQL may still run. A fast
# shutdown sends the last WAL to standbys that stream. After a power cut, the file names a process that is gone or is
# another program.
systemctl stop @PATRONI@
systemctl stop @READONLY@ # after Patroni, whose gate may have asked for its start at the last moment
pid=$(head -1 @DATA@/postmaster.pid 2>/dev/null) || exit 0
[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = postgres ] || exit 0
exec @AS_POSTGRES@ @BIN@/pg_ctl -D @DATA@ -s -w -t 60 -m fast stop
