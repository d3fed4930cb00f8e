#!/bin/sh
# Run by Patroni in the place of pg_rewind.
# Patroni asks for --help each time it looks whether a rewind is possible, also amid a failover: no Python for that.
[ "$1" = --help ] && exec @PROGRAMS@/pg_rewind --help
# If Patroni is killed, its rewind must not go on: the next Patroni may start PostgreSQL on the same data.
exec setpriv --pdeathsig KILL /usr/bin/python3 -I @REWIND@ @PROGRAMS@ @ASIDE@ @ASIDE_SETTINGS@ "$@"
