#!/bin/sh
# Ends when Patroni may start: dcs knows the cluster, or there is no data here and a permission to create a cluster.
# A primary that could not keep the lead also waits until another node leads, but not forever: there may be none.
# In the meantime, PostgreSQL is started read-only on the data here.
now() { read -r up _ < /proc/uptime; echo "${up%.*}"; }
ask() { answer=$(curl -s -m 2 -o /dev/null -w '%{http_code}' '@RECORDED@'); [ "$answer" = 200 ]; }
another_leads() {
  [ -e @STEPPED_DOWN@ ] && [ $(($(now) - began)) -lt $let_lead ] || return 0
  # Only this node may lead if Patroni counts no standby as synchronous.
  ! curl -sf -m 2 '@SYNC@?raw' | grep -q '"sync_standby": *null' || return 0
  leader=$(curl -sf -m 2 '@LEADER@?raw') && [ "$leader" != "$(uname -n)" ]
}
mkdir -p @CONFIGS@
patience=@SILENT_AT_BOOT_S@ enough=@SILENT_LOOKS@ let_lead=@STEPPED_DOWN_S@
[ ! -e @KEEPALIVES@ ] || patience=@SILENT_S@
# Patroni writes its keepalives from the start of the file. "V" at its end means that the watchdog is switched off until
# Patroni switches it on.
if [ "$(tail -c 1 @KEEPALIVES@ 2>/dev/null)" = V ]; then printf V > @KEEPALIVES@; else : > @KEEPALIVES@; fi
chown postgres:postgres @CONFIGS@ @KEEPALIVES@
ln -sfn @CONFIG@ @CONFIGS@/patroni.yml
began=$(now) heard=$(now) looks=0
until ask && another_leads; do
  if [ ! -s @DATA@/PG_VERSION ]; then
    [ ! -e @PERMISSION@ ] || mv @PERMISSION@ @BOOTSTRAP@
    [ ! -e @BOOTSTRAP@ ] || exit 0
  fi
  looks=$((looks + 1))
  [ "$answer" != 404 ] || heard=$(now) looks=0
  if [ $looks -ge $enough ] && [ $(($(now) - heard)) -ge $patience ] && @READONLY@; then
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
rm -f @PERMISSION@ @BOOTSTRAP@ @STEPPED_DOWN@
