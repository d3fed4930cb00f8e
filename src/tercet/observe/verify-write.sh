#!/bin/sh
# Prints the addresses that executed the INSERT and the transaction's write.
# Arguments: port, user, database, schema, and the site that writes.
export PGPASSFILE=@PASSFILE@ PGCONNECT_TIMEOUT=3
@PSQL@ -XAtq -v ON_ERROR_STOP=1 -h localhost -p "$1" -U "$2" -d "$3" <<SQL
INSERT INTO $4.proof VALUES ('$5 insert') RETURNING inet_server_addr();
BEGIN;
SELECT count(*) IS NULL FROM $4.proof;
INSERT INTO $4.proof VALUES ('$5 transaction') RETURNING inet_server_addr();
COMMIT;
SQL
