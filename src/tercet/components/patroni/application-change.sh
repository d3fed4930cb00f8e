#!/bin/sh
# Makes the application's user and its database on the primary, or corrects them.
# Arguments: user, database. The password is on standard input.
read -r password
local_psql() { @AS_POSTGRES@ @PSQL@ -XAtq -v ON_ERROR_STOP=1 "$@"; }
[ "$(local_psql -c 'SELECT pg_is_in_recovery()')" = f ] || { echo "is no primary any more" >&2; exit 1; }
local_psql <<SQL || exit 1
SET log_statement = 'none'; SET log_min_duration_statement = -1; SET log_min_error_statement = 'panic';
DO \$do\$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$1') THEN CREATE ROLE "$1"; END IF;
END \$do\$;
ALTER ROLE "$1" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD '$password';
SQL
[ -n "$(local_psql -c "SELECT 1 FROM pg_database WHERE datname = '$2'")" ] \
  || local_psql -c "CREATE DATABASE \"$2\" OWNER \"$1\"" || exit 1
local_psql -c "ALTER DATABASE \"$2\" OWNER TO \"$1\""
