#!/bin/sh
# Run by Patroni instead of postgres. A server does not start on data that a rewind left half-written: it would wait for
# WAL that is not there, or mix two timelines. Patroni then rewinds again; if that fails, the data is moved aside.
refuse() { echo "$1"; exit 1; }
half_written="a rewind left the data half-written; not started until a rewind has worked"
# With -C, postgres only prints a setting.
if [ "$1" = -D ] && [ "$3" != -C ] && [ -e @DATA@.rewinding ]; then
  # What nodeside/rewind.py wrote before the rewind: the directory, the boot of the machine, and the hash of pg_control.
  read -r inode boot control < @DATA@.rewinding
  if [ "$inode" = "$(stat -c %i @DATA@)" ]; then
    # pg_rewind writes pg_control last.
    [ "$control" != "$(sha256sum < @DATA@/global/pg_control | cut -c -64)" ] || refuse "$half_written"
    LC_ALL=C @PROGRAMS@/pg_controldata @DATA@ | grep -q 'state: *in archive recovery$' || refuse "$half_written"
    # The rewind was complete and killed at its end. If the machine crashed, its disk may not have the other files.
    if [ "$boot" != "$(cat /proc/sys/kernel/random/boot_id)" ]; then
      /usr/bin/python3 -I @ASIDE@ @ASIDE_SETTINGS@ move "the machine crashed at the end of a rewind"
      exit 1
    fi
    rm -f @DATA@.rewinding
  fi
fi
exec @PROGRAMS@/postgres "$@"
