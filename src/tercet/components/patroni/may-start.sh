#!/bin/sh
# Ends when Patroni may start: dcs knows the cluster, or there is no data here and a permission to create a cluster.
# A primary that could not keep the lead also waits until another node leads, but not forever: there may be none.
# In the meantime, PostgreSQL is started read-only on the data here.
now() { read -r up _ < /proc/uptime; echo "${up%.*}"; }
# "consistent": a server that was just started and elected knows nothing until it has replayed its log.
# While Patroni creates the cluster, the record of it in dcs is empty. Another Patroni would not finish the work.
ask() {
  said=$(curl -s -m 2 -w '%{http_code}' @RECORDED@)
  record=${said%???} && answer=${said#"$record"} &&
    { [ -n "$record" ] || [ ! -e @CREATING@ ]; } && [ "$answer" = 200 ]
}
another_leads() {
  [ -e @STEPPED_DOWN@ ] && [ $(($(now) - began)) -lt $let_lead ] || return 0
  # Only this node may lead if Patroni counts no standby as synchronous.
  ! curl -sf -m 2 @SYNC@ | grep -q '"sync_standby": *null' || return 0
  leader=$(curl -sf -m 2 @LEADER@) && [ "$leader" != "$(uname -n)" ]
}
# Lets Patroni create the cluster. The mark is on the disk before anything else is, until the cluster is complete.
begin() {
  cp @BOOTSTRAP@ @CREATING@.new && sync @CREATING@.new && mv @CREATING@.new @CREATING@ && sync "$(dirname @CREATING@)"
}
# dcs has no record, or the empty one that Patroni makes first and only the end of the creation fills.
broken_off() {
  [ -e @CREATING@ ] && case "$answer$record" in 200 | 404) true ;; *) false ;; esac
}
# Here is at most a database without all of its roles, which no standby can clone and no application has used.
begin_again() {
  ! pkill -KILL -u postgres -x 'initdb|postgres' || return 0 # and look again when they are gone
  if [ -s @DATA@/PG_VERSION ]; then
    setpriv --reuid=postgres --regid=postgres --clear-groups /usr/bin/python3 -I @ASIDE@ @ASIDE_SETTINGS@ move \
      "creating the cluster was broken off" || return 0
  else
    rm -rf @DATA@
  fi
  curl -sf -m 2 -o /dev/null -X DELETE @RECORD@ || return 0
  echo "creating the cluster was broken off, and begins again"
  mv @CREATING@ @BOOTSTRAP@
}
mkdir -p @CONFIGS@
patience=@SILENT_AT_BOOT_S@ enough=@SILENT_LOOKS@ let_lead=@STEPPED_DOWN_S@
[ ! -e @KEEPALIVES@ ] || patience=@SILENT_S@
# Patroni writes its keepalives from the start of the file. "V" at its end means that the watchdog is switched off until
# Patroni switches it on.
if [ "$(tail -c 1 @KEEPALIVES@ 2>/dev/null)" = V ]; then printf V > @KEEPALIVES@; else : > @KEEPALIVES@; fi
chown postgres:postgres @CONFIGS@ @KEEPALIVES@
ln -sfn @CONFIG@ @CONFIGS@/patroni.yml
# A database that had a standby has its slot, and was complete.
[ -z "$(ls -A @DATA@/pg_replslot 2>/dev/null)" ] || rm -f @CREATING@
began=$(now) heard=$(now) looks=0
until ask && another_leads; do
  if broken_off; then
    begin_again
  elif [ ! -s @DATA@/PG_VERSION ]; then
    [ ! -e @PERMISSION@ ] || mv @PERMISSION@ @BOOTSTRAP@
    if [ -e @BOOTSTRAP@ ] && begin; then exit 0; fi
  fi
  looks=$((looks + 1))
  [ "$answer" != 404 ] || heard=$(now) looks=0
  if [ $looks -ge $enough ] && [ $(($(now) - heard)) -ge $patience ] && [ ! -e @CREATING@ ] && @READONLY@; then
    echo "PostgreSQL is started as a standby, for reads alone"
    systemctl start @READONLY_UNIT@
    # Patroni must find it: until a postmaster has written its file, a second one can be started.
    for _ in $(seq 50); do
      started=$(systemctl show --property=MainPID --value @READONLY_UNIT@)
      [ "$started" != "$(head -n 1 @DATA@/postmaster.pid 2>/dev/null)" ] || break
      sleep 0.1
    done
  fi
  sleep 0.2
done
rm -f @PERMISSION@ @BOOTSTRAP@ @STEPPED_DOWN@ @CREATING@
