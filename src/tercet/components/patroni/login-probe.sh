#!/bin/sh
# Prints "ready" if the login works and has the rights of the application's user; otherwise "standby", or what is wrong.
# Arguments: login, user, database, port. The password is on standard input. psql gets it in its environment, which only
# root and postgres can read.
read -r password
local_psql() { @AS_POSTGRES@ @PSQL@ -XAtq -v ON_ERROR_STOP=1 "$@"; }
found=$(local_psql -c "SELECT pg_is_in_recovery(),
  (SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
   FROM pg_roles WHERE rolname = '$1')") || exit 1
case "$found" in
  t*) echo standby; exit 0 ;;
  "f|f") ;;
  "f|") echo "there is no login $1"; exit 0 ;;
  *) echo "login $1 has more rights than an application needs"; exit 0 ;;
esac
export PGPASSWORD="$password" PGCONNECT_TIMEOUT=2 PGSSLMODE=verify-full PGSSLROOTCERT=@CA@
acts_as=$(@PSQL@ -XAtq -h "$(hostname)" -p "$4" -U "$1" -d "$3" -c 'SELECT current_user' 2> /dev/null) \
  || { echo "$1 cannot log in with its password"; exit 0; }
[ "$acts_as" = "$2" ] || { echo "login $1 acts as $acts_as"; exit 0; }
echo ready
