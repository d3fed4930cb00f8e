#!/bin/sh
# Prints "ready" if the application has its database and can log in; otherwise "standby", or what is wrong. Arguments:
# user, database, port. The password is on standard input. psql gets it in its environment, which only root and postgres
# can read.
read -r password
local_psql() { @AS_POSTGRES@ @PSQL@ -XAtq -v ON_ERROR_STOP=1 "$@"; }
found=$(local_psql -c "SELECT pg_is_in_recovery(),
  (SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
   FROM pg_roles WHERE rolname = '$1'),
  (SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '$2')") || exit 1
case "$found" in
  t*) echo standby; exit 0 ;;
  "f|f|$1") ;;
  *"|$1") echo "user $1 has more rights than an application needs"; exit 0 ;;
  *"|") echo "database $2 belongs to nobody: it does not exist"; exit 0 ;;
  *) echo "database $2 belongs to ${found##*|}"; exit 0 ;;
esac
export PGPASSWORD="$password" PGCONNECT_TIMEOUT=2 PGSSLMODE=verify-full PGSSLROOTCERT=@CA@
@PSQL@ -XAtq -h "$(hostname)" -p "$3" -U "$1" -d "$2" -c 'SELECT 1' >/dev/null 2>&1 \
  || { echo "user $1 cannot log in with its password"; exit 0; }
echo ready
