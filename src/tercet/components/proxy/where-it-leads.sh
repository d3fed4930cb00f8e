#!/bin/sh
# Prints the node's names for addresses, and then the addresses that answer a read, a write and the first read of a
# transaction. This asks the proxy that runs on the node now, because nodes differ while another kind or port is rolled
# out. Both kinds send the second question to the primary: PgCat sends every explicit transaction there, and pgpool-II
# every one with that comment. Arguments: user, database.
export PGPASSFILE=@PASSFILE@ PGCONNECT_TIMEOUT=2
cat /etc/hosts
IFS=: read -r _ port _ < @PASSFILE@
exec @PSQL@ -XAtq -h localhost -p "$port" -U "$1" -d "$2" \
  -c '\echo read' -c 'SELECT inet_server_addr()' \
  -c '\echo write' -c '/*NO LOAD BALANCE*/ BEGIN; SELECT inet_server_addr(); COMMIT' \
  -c '\echo transaction' -c 'BEGIN' -c 'SELECT inet_server_addr()'
