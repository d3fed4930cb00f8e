#!/bin/sh
# Prints which address answers a read, a write and the first read of a transaction, after the names that the node has
# for addresses. Asked of the proxy that the node has now: while another kind or a changed port is rolled out, the nodes
# differ. Both kinds send the second question to the primary: PgCat every explicit transaction, pgpool-II what has that
# comment. Arguments: user, database.
export PGPASSFILE=@PASSFILE@ PGCONNECT_TIMEOUT=2
cat /etc/hosts
IFS=: read -r _ port _ < @PASSFILE@
exec @PSQL@ -XAtq -h localhost -p "$port" -U "$1" -d "$2" \
  -c '\echo read' -c 'SELECT inet_server_addr()' \
  -c '\echo write' -c '/*NO LOAD BALANCE*/ BEGIN; SELECT inet_server_addr(); COMMIT' \
  -c '\echo transaction' -c 'BEGIN' -c 'SELECT inet_server_addr()'
