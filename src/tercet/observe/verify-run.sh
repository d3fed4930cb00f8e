#!/bin/sh
# Runs SQL like the application. Arguments: port, user, database, SQL.
export PGPASSFILE=@PASSFILE@ PGCONNECT_TIMEOUT=3
exec @PSQL@ -XAtq -v ON_ERROR_STOP=1 -h localhost -p "$1" -U "$2" -d "$3" -c "$4"
