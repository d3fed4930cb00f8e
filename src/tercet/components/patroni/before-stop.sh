#!/bin/sh
# Run by Patroni before it stops PostgreSQL, whose stop is a switchover's longest link. Patroni looks once a second
# whether PostgreSQL has stopped, and where it finds it shut down but not gone yet, it waits for another second before it
# gives the leader key away (ha.py, demote, on_shutdown). So PostgreSQL is stopped before that, until its process is
# gone: also reaped by systemd, whose child it is, since Patroni takes a zombie for a running postmaster. A fast shutdown
# waits until every connected standby has all WAL. What takes longer than two seconds is left to Patroni.
[ -s @DATA@/postmaster.pid ] && read -r pid < @DATA@/postmaster.pid && kill -INT "$pid" || exit 0
for _ in $(seq 40); do
  [ -d "/proc/$pid" ] || exit 0
  sleep 0.05
done
