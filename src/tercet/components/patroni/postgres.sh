#!/bin/sh
# Run by Patroni instead of postgres. A server does not start on data that a rewind left half-written: it would wait for
# WAL that is not there, or mix two timelines. Patroni then rewinds again. From some half-written data Patroni cannot tell
# that it must, and only tries to start the server again and again. Then the data is moved aside, and Patroni clones.
refusals=@REFUSALS@
move_aside() { /usr/bin/python3 -I @ASIDE@ @ASIDE_SETTINGS@ move "$1" && rm -f @DATA@.rewinding; exit 1; }
refuse() {
  # Without another leader, there is nothing to rewind from, or to clone.
  if leader=$(curl -sf -m 2 @LEADER@) && [ "$leader" != "$(uname -n)" ]; then
    echo refused >> @DATA@.rewinding
    [ "$(wc -l < @DATA@.rewinding)" -le $refusals ] || move_aside "a rewind left the data half-written"
  fi
  echo "a rewind left the data half-written; not started until a rewind has worked"
  exit 1
}
# With -C, postgres only prints a setting.
if [ "$1" = -D ] && [ "$3" != -C ] && [ -e @DATA@.rewinding ]; then
  # What nodeside/rewind.py wrote before the rewind: the directory, the boot of the machine, and the hash of pg_control.
  read -r inode boot control < @DATA@.rewinding
  if [ "$inode" = "$(stat -c %i @DATA@)" ]; then
    # pg_rewind writes pg_control last.
    [ "$control" != "$(sha256sum < @DATA@/global/pg_control | cut -c -64)" ] || refuse
    LC_ALL=C @PROGRAMS@/pg_controldata @DATA@ | grep -q 'state: *in archive recovery$' || refuse
    # The rewind was complete and killed at its end. If the machine crashed, its disk may not have the other files.
    [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] || move_aside "the machine crashed at the end of a rewind"
    rm -f @DATA@.rewinding
  fi
fi
exec @PROGRAMS@/postgres "$@"
