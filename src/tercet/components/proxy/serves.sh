#!/bin/sh
# Succeeds if an application can read here. The port is that of the proxy that runs now. Arguments: user, database.
export PGPASSFILE=@PASSFILE@ PGCONNECT_TIMEOUT=2
IFS=: read -r _ port _ < @PASSFILE@ || exit 1
exec @PSQL@ -XAtq -h localhost -p "$port" -U "$1" -d "$2" -c 'SELECT 1'
