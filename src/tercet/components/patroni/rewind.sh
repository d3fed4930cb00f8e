#!/bin/sh
# Run by Patroni instead of pg_rewind.
# Patroni calls --help each time that it checks whether a rewind is possible, even during a failover, so this does not
# start Python.
[ "$1" = --help ] && exec @PROGRAMS@/pg_rewind --help
# If Patroni is killed, its rewind must end, because the next Patroni may start PostgreSQL on the same data.
exec setpriv --pdeathsig KILL /usr/bin/python3 -I @REWIND@ @PROGRAMS@ @ASIDE@ @ASIDE_SETTINGS@ "$@"
