#!/bin/sh
# Run by Patroni before it stops PostgreSQL, which is the longest step of a switchover. Patroni checks once a second
# whether PostgreSQL has stopped. If it is shut down but its process still exists, Patroni waits another second before
# it releases the leader key (ha.py, demote, on_shutdown). So this script stops PostgreSQL first and waits until its
# process is gone. systemd must also have reaped the process, because Patroni takes a zombie for a running postmaster. A
# fast shutdown waits until every connected standby has all WAL. If it takes longer than two seconds, Patroni does the
# rest.
[ -s @DATA@/postmaster.pid ] && read -r pid < @DATA@/postmaster.pid && kill -INT "$pid" || exit 0
for _ in $(seq 40); do
  [ -d "/proc/$pid" ] || exit 0
  sleep 0.05
done
