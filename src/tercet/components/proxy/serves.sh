#!/bin/sh
# Succeeds if an application can read here, with one of its logins: the password of the other may be changing. The port is
# that of the proxy that runs now.
export PGPASSFILE=@PASSFILE@ PGCONNECT_TIMEOUT=2
while IFS=: read -r _ port database login _; do
  ! @PSQL@ -XAtq -h localhost -p "$port" -U "$login" -d "$database" -c 'SELECT 1' < /dev/null || exit 0
done < @PASSFILE@
exit 1
