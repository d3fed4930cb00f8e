"""What belongs to the application: its database and its user, owner of that database and nothing more.

Both live in the replicated database, so they are looked at and made on whichever node is primary when that happens: it
may be another one than when the plan was made. A standby answers "standby".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tercet.components.context import Context
from tercet.components.patroni import component as patroni
from tercet.components.patroni.declaration import PatroniPorts
from tercet.converge.component import Condition
from tercet.converge.requests import Answer, Exec, Request
from tercet.converge.resources import Object, Resource
from tercet.inventory.platform import Node, Role

_LOCAL = f'local_psql() {{ {" ".join(patroni.AS_POSTGRES)} {patroni.PSQL} -XAtq -v ON_ERROR_STOP=1 "$@"; }}'

# The password comes on standard input and reaches psql by its environment, which only root and postgres can read.
PROBE = f"""
read -r password
{_LOCAL}
found=$(local_psql -c "SELECT pg_is_in_recovery(),
  (SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
   FROM pg_roles WHERE rolname = '$1'),
  (SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '$2')") || exit 1
case "$found" in
  t*) echo standby; exit 0 ;;
  "f|f|$1") ;;
  *"|$1") echo "user $1 has more rights than an application needs"; exit 0 ;;
  *"|") echo "database $2 belongs to nobody: it does not exist"; exit 0 ;;
  *) echo "database $2 belongs to ${{found##*|}}"; exit 0 ;;
esac
export PGPASSWORD="$password" PGCONNECT_TIMEOUT=2
{patroni.PSQL} -XAtq -h "$(hostname)" -p "$3" -U "$1" -d "$2" -c 'SELECT 1' >/dev/null 2>&1 \\
  || {{ echo "user $1 cannot log in with its password"; exit 0; }}
echo ready
"""

CHANGE = f"""
read -r password
{_LOCAL}
[ "$(local_psql -c 'SELECT pg_is_in_recovery()')" = f ] || {{ echo "is no primary any more" >&2; exit 1; }}
local_psql <<SQL || exit 1
SET log_statement = 'none'; SET log_min_duration_statement = -1; SET log_min_error_statement = 'panic';
DO \\$do\\$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$1') THEN CREATE ROLE "$1"; END IF;
END \\$do\\$;
ALTER ROLE "$1" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD '$password';
SQL
[ -n "$(local_psql -c "SELECT 1 FROM pg_database WHERE datname = '$2'")" ] \\
  || local_psql -c "CREATE DATABASE \\"$2\\" OWNER \\"$1\\"" || exit 1
local_psql -c "ALTER DATABASE \\"$2\\" OWNER TO \\"$1\\""
"""


@dataclass(frozen=True, slots=True)
class Application:
    """The application's user and database."""

    context: Context
    name: str = "application"
    after: tuple[str, ...] = ("lowered",)

    def desired(self, node: Node) -> Iterable[Resource]:
        platform = self.context.platform
        if node != platform.initial_primary:  # given once; while there is no cluster yet, it is planned there
            return
        postgresql, port = platform.settings.postgresql, str(platform.settings.ports.of(PatroniPorts).postgresql)
        password = self.context.secrets.postgres_application.encode() + b"\n"
        words = (postgresql.user, postgresql.database, port)
        others = (database.name for database in platform.of(Role.DB) if database != node)
        yield Object(
            f"database {postgresql.database} and its user {postgresql.user}",
            Exec(("sh", "-c", PROBE, "sh", *words), stdin=password),
            not_ready,
            (Exec(("sh", "-c", CHANGE, "sh", *words), stdin=password, timeout=20),),
            on=(node.name, *others),
            here=on_primary,
            settle=self.context.timing.ttl + 30.0,  # a failover takes up to ttl where gossip does not end the session
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {}

    def healthy(self) -> Iterable[Condition]:
        return ()


def on_primary(answer: Answer) -> bool:
    """The answer to a probe that says "standby" on a standby."""
    return answer.ok and answer.text.strip() != "standby"


def not_ready(answer: Answer) -> str | None:
    """The reason for a change, from a probe that says "ready" where there is none."""
    if not on_primary(answer):
        return "no database node is primary"
    text = answer.text.strip()
    return None if text == "ready" else text
