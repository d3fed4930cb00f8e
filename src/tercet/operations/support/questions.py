"""The questions of a support bundle to a node: file names and the scripts whose output they get. Pure.

The time of each is limited by COMMAND_S; a journal's size is limited by LINES and BYTES.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tercet.components import endpoints
from tercet.components.consul.credentials import TOKENS
from tercet.components.nomad.security import MANAGEMENT
from tercet.components.patroni import component as patroni
from tercet.inventory.platform import Role

if TYPE_CHECKING:
    from tercet.session.session import Session

COMMAND_S = 20.0
HOURS = 6
LINES = 40_000
BYTES = 8 << 20

QUESTIONS: Mapping[str, str] = {
    "journal.log": f"journalctl --no-pager --output=short-iso-precise --since=-{HOURS}h --lines={LINES} "
    f"| tail --bytes={BYTES}",
    "units.txt": "systemctl list-units --all --no-pager --no-legend; echo; systemctl list-timers --all --no-pager",
    "processes.txt": "ps -eo pid,ppid,stat,etimes,rss,pcpu,args",
    "machine.txt": "date --iso-8601=ns; uptime; uname -a; cat /etc/debian_version; free -m; df -h; df -i",
    "network.txt": "ip address; ip route; nft list ruleset; ss -tanp | head --lines=500; cat /etc/hosts",
    "tailscale.txt": "tailscale status; tailscale netcheck --format=json-line 2>/dev/null | head --bytes=4096; "
    "tailscale version",
    "versions.txt": "for program in 'consul version' 'nomad version' 'consul-template -v' 'patroni --version' "
    "'pgpool --version' 'pgcat --version' 'headscale version' '/usr/lib/postgresql/17/bin/postgres --version' "
    "'python3 --version'; do echo \"== $program\"; $program 2>&1 | head --lines=3; done; "
    "dpkg-query --show --showformat='${Package} ${Version}\\n'",
}


def of_role(role: Role, session: Session) -> Mapping[str, str]:
    """The questions only to nodes of this role."""
    platform = session.platform
    own, elections, jobs = endpoints.consul(platform), endpoints.dcs(platform), endpoints.nomad(platform)
    # The token that works without a server.
    may = f"CONSUL_HTTP_TOKEN=$(jq -r .acl.tokens.agent_recovery {TOKENS})"
    at = f"export CONSUL_CACERT={own.ca}; "
    members = f"{at} consul members -http-addr={own.url('')}; {may} consul members -http-addr={elections.url('')}; "
    peers = "".join(f"consul operator raft list-peers -http-addr={each.url('')}; " for each in (own, elections))
    nomad = f"export NOMAD_ADDR={jobs.url('')} NOMAD_CACERT={jobs.ca} NOMAD_TOKEN=$(cat {MANAGEMENT}); "
    asked: dict[Role, dict[str, str]] = {
        Role.CONTROL: {
            "consul.txt": f"{members} {peers} true",
            "nomad.txt": f"{nomad} nomad server members; nomad operator raft list-peers; nomad node status; "
            "nomad job status; true",
        },
        Role.APPS: {"consul.txt": f"{members} true"},
        Role.DB: {
            "patroni.txt": f"patronictl -c {patroni.CONFIG} list; patronictl -c {patroni.CONFIG} history; "
            f"curl -s -m 5 {endpoints.patroni(platform, '$(hostname)').curl('/patroni')}; true",
            "postgresql.txt": f"ls -la {patroni.DATA} {patroni.DATA}/pg_wal | head --lines=200; "
            f"{patroni.BIN}/pg_controldata -D {patroni.DATA}; "
            "for view in pg_stat_replication pg_stat_wal_receiver pg_replication_slots; do "
            f'setpriv --reuid=postgres --regid=postgres --clear-groups {patroni.PSQL} -X -c "TABLE $view"; done; '
            f"setpriv --reuid=postgres --regid=postgres --clear-groups {patroni.PSQL} -X -c "
            '"SELECT pid, state, wait_event_type, wait_event, application_name, xact_start FROM pg_stat_activity" '
            f"-c \"SELECT name, setting FROM pg_settings WHERE source NOT IN ('default', 'override')\"; true",
        },
        Role.WORLD: {"headscale.txt": "headscale nodes list; true"},
    }
    return asked[role]
