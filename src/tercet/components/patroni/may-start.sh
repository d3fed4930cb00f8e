#!/bin/sh
# Ends when Patroni may start: dcs knows the cluster, or there is no data here and the permission to create one.
# While dcs is silent, the data that are here are read.
now() { read -r up _ < /proc/uptime; echo "${up%.*}"; }
ask() { answer=$(curl -s -m 2 -o /dev/null -w '%{http_code}' '@RECORDED@'); [ "$answer" = 200 ]; }
mkdir -p @CONFIGS@
patience=@SILENT_AT_BOOT_S@ enough=@SILENT_LOOKS@
[ ! -e @KEEPALIVES@ ] || patience=@SILENT_S@
# Patroni writes its keepalives from the start of the file. "V" at its end says that the watchdog is switched off, and
# stays so until Patroni switches it on.
if [ "$(tail -c 1 @KEEPALIVES@ 2>/dev/null)" = V ]; then printf V > @KEEPALIVES@; else : > @KEEPALIVES@; fi
chown postgres:postgres @CONFIGS@ @KEEPALIVES@
ln -sfn @CONFIG@ @CONFIGS@/patroni.yml
heard=$(now) looks=0
until ask; do
  if [ ! -s @DATA@/PG_VERSION ]; then
    [ ! -e @PERMISSION@ ] || mv @PERMISSION@ @BOOTSTRAP@
    [ ! -e @BOOTSTRAP@ ] || exit 0
  fi
  looks=$((looks + 1))
  [ "$answer" != 404 ] || heard=$(now) looks=0
  if [ $looks -ge $enough ] && [ $(($(now) - heard)) -ge $patience ] && @READONLY@; then
    echo "dcs is silent: PostgreSQL is started as a standby, for reads alone"
    systemctl start @READONLY_UNIT@
    # Patroni must find it: until a postmaster has written its file, another one can be started beside it.
    for _ in $(seq 50); do
      started=$(systemctl show --property=MainPID --value @READONLY_UNIT@)
      [ "$started" != "$(head -n 1 @DATA@/postmaster.pid 2>/dev/null)" ] || break
      sleep 0.1
    done
  fi
  sleep 0.2
done
rm -f @PERMISSION@ @BOOTSTRAP@
