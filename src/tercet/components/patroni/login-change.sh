#!/bin/sh
# Makes the login on the primary, or corrects it. Arguments: login, user, database. The password is on standard input.
read -r password
local_psql() { @AS_POSTGRES@ @PSQL@ -XAtq -v ON_ERROR_STOP=1 "$@"; }
[ "$(local_psql -c 'SELECT pg_is_in_recovery()')" = f ] || { echo "is no primary any more" >&2; exit 1; }
exec @AS_POSTGRES@ @PSQL@ -XAtq -v ON_ERROR_STOP=1 <<SQL
SET log_statement = 'none'; SET log_min_duration_statement = -1; SET log_min_error_statement = 'panic';
DO \$do\$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$1') THEN CREATE ROLE "$1"; END IF;
END \$do\$;
ALTER ROLE "$1" LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD '$password';
GRANT "$2" TO "$1" WITH INHERIT TRUE, SET TRUE;
ALTER ROLE "$1" IN DATABASE "$3" SET role = '$2';
SQL
