"""PostgreSQL under Patroni. Only Patroni decides which node is primary, through `dcs`.

Invariants
- A write is acknowledged only when a standby has it: quorum commit with strict mode. `quorum` is used instead of `on`,
  because if *the* synchronous standby fell silent, commits would stall for ttl + loop_wait.
- The cluster is created once, on the inventory's primary, with a permission that `apply` gives only while no database
  node holds data (components/permission.py). The permission is Patroni's section `bootstrap`, without which Patroni
  creates no cluster. It is gone when the cluster exists, so an emptied first primary never creates a second cluster.
  A creation that is broken off begins again (may-start.sh).
- Patroni starts only when `dcs` knows the cluster or when it may create one. A `dcs` that lost its data knows neither
  the node with the last commits nor the last primary, so the first Patroni to ask would lead. Reads continue in the
  meantime (components/patroni/readonly.py).
- The dynamic configuration is in `dcs`; components/patroni/settings.py keeps it in the state of the inventory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tercet.components import endpoints, permission
from tercet.components.context import Context
from tercet.components.patroni import tls
from tercet.components.patroni.declaration import (
    API_PASSWORD,
    PROBER,
    REPLICATOR,
    REPLICATOR_PASSWORD,
    REWINDER,
    REWINDER_PASSWORD,
    SUPERUSER,
    SUPERUSER_PASSWORD,
    PatroniPorts,
    scope,
)
from tercet.components.patroni.parameters import needed
from tercet.components.patroni.readonly import PROGRAM as READONLY
from tercet.components.patroni.readonly import UNIT as READONLY_UNIT
from tercet.components.patroni.readonly import readonly
from tercet.components.patroni.rewind import ASIDE, ASIDE_SETTINGS, PG_REWIND, POSTGRES, rewind
from tercet.components.rolling import databases
from tercet.components.sandbox import Sandbox
from tercet.components.systemd import NEEDS_TAILNET, unit_file, unit_path
from tercet.components.text import as_yaml
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.requests import Exec, Http, Request
from tercet.converge.resources import Directory, File, Object, Resource, Unit
from tercet.datafile import text_of
from tercet.inventory.platform import Node, Platform, Role
from tercet.inventory.shapes import Setting

UNIT = "patroni.service"
CONFIG = "/etc/patroni/patroni.yml"
DATA = "/var/lib/postgresql/17/tercet"
SANDBOX = Sandbox(jit=True)  # PostgreSQL compiles queries
MAINTENANCE = "postgres"  # the database to which Patroni connects at another node, as REWINDER
HOME = Directory("/var/lib/postgresql/17", owner="postgres", group="postgres")
BIN = "/usr/lib/postgresql/17/bin"
PSQL = f"{BIN}/psql"  # psql in PATH is Debian's wrapper in Perl, which takes twice as long
GATE = "/usr/lib/tercet/patroni-may-start"
BEFORE_STOP = "/usr/lib/tercet/patroni-before-stop"
AFTER_BOOTSTRAP = "/usr/lib/tercet/patroni-after-bootstrap"
ON_START = "/usr/lib/tercet/patroni-on-start"
PRE_PROMOTE = "/usr/lib/tercet/patroni-pre-promote"
KEEPALIVES = "/run/patroni/keepalives"  # written by Patroni, read by nodeside/watchdog.py
STEPPED_DOWN = "/run/tercet-stepped-down"  # exists from the watchdog's fence of an unsteady primary to its next start
STEPPED_DOWN_S = 10  # seconds; in the lab, another node led after 1 to 3
PERMISSION = "/run/tercet-bootstrap.yml"
# Patroni reads CONFIG, and the permission while it exists. Patroni's own user removes the permission.
CONFIGS = "/run/patroni/config"
BOOTSTRAP = f"{CONFIGS}/bootstrap.yml"
CREATING = f"{DATA}.creating"  # the permission again, from before the creation of the cluster until it is complete
RECOVER = "`tercet recover dcs` shows what each database node has, and recovers it"
ALONE = "postgresql: one primary, no standby"
# Seconds of silence of `dcs` after which the gate lets PostgreSQL serve reads without Patroni. Agents that start find
# each other and elect a leader within some 10; where Patroni ran before, they have had their time.
SILENT_S, SILENT_AT_BOOT_S = 2, 15
SILENT_LOOKS = 2
VALUE = "?raw&consistent"  # the parameters of a question for a key's value; nodeside/keys.py says why "consistent"
SWITCH_S = 60.0  # seconds for a planned change of the primary, which takes 1 to 2
# As PostgreSQL's own user, for its local socket. setpriv, because runuser opens a PAM session, which takes as long as
# the query.
AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")

_BEFORE_STOP = text_of(__package__, "before-stop.sh", DATA=DATA)
_ON_START = text_of(__package__, "on-start.sh", CREATING=CREATING)
_AFTER_BOOTSTRAP = text_of(__package__, "after-bootstrap.sh", BOOTSTRAP=BOOTSTRAP)


@dataclass(frozen=True, slots=True)
class Patroni:
    """Patroni and PostgreSQL on the database nodes."""

    context: Context
    name: str = "patroni"
    after: tuple[str, ...] = ("dcs-agents", "aside", "votes", "wake")

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is not Role.DB:
            return
        yield Directory("/etc/patroni", purge=True, owner="root", group="postgres", mode=0o750)
        yield HOME
        yield from tls.member(self.context, node).files(tls.FOLDER, "postgres")
        yield tls.authorities(self.context)
        yield File(CONFIG, as_yaml(self._config(node)), mode=0o640, group="postgres", secret=True)
        yield File(GATE, self._gate().encode(), mode=0o755)
        yield File(BEFORE_STOP, _BEFORE_STOP.encode(), mode=0o755)
        yield from rewind(BIN, DATA, self._asking("leader", VALUE))
        yield from readonly(BIN, DATA, SANDBOX)
        yield File(AFTER_BOOTSTRAP, _AFTER_BOOTSTRAP.encode(), mode=0o755)
        yield File(ON_START, _ON_START.encode(), mode=0o755)
        yield File(unit_path(UNIT), self._unit())
        if node == self.context.platform.initial_primary:
            yield self._cluster(node)
        yield Unit(
            UNIT,
            restart_on=(unit_path(UNIT), GATE),
            reload_on=(CONFIG, tls.FOLDER.ca, tls.FOLDER.node),
            rolling=databases("postgresql", node, self.context.platform),
        )

    def api(self, path: str, node: Node) -> Http:
        """A request to Patroni's REST API on the node itself. The API listens only on the tailnet address."""
        return Http(endpoints.patroni(self.context.platform, node.name), path)

    def _config(self, node: Node) -> dict[str, object]:
        settings, secrets, timing = self.context.platform.settings, self.context.secrets, self.context.timing
        ports, dcs = settings.ports.of(PatroniPorts), endpoints.dcs(self.context.platform)
        return {
            "scope": settings.postgresql.service,
            "name": node.name,
            "restapi": {
                "listen": f"{node.name}:{ports.patroni}",
                "connect_address": f"{node.name}:{ports.patroni}",
                "authentication": {"username": endpoints.PATRONI_USER, "password": secrets.password(API_PASSWORD)},
                **tls.rest_api(self.context),
            },
            "ctl": tls.control(self.context),
            "consul": {
                "url": dcs.url(""),
                "cacert": dcs.ca,
                "consistency": "consistent",  # as in VALUE
                "register_service": False,  # see components/patroni/service.py
                "checks": [],  # nodeside/sessions.py ends a dead node's session; gossip is too credulous
            },
            # Containers have no /dev/watchdog. The driver "testing" makes the same calls on an ordinary file, which
            # nodeside/watchdog.py watches. `required`: no node becomes primary without it.
            "watchdog": {
                "mode": "required",
                "driver": "testing",
                "device": KEEPALIVES,
                "safety_margin": timing.ttl - int(timing.fence_s),
            },
            "postgresql": {
                "listen": f"{node.name}:{ports.postgresql}",
                "connect_address": f"{node.name}:{ports.postgresql}",
                "use_unix_socket": True,
                "use_unix_socket_repl": False,
                "data_dir": DATA,
                "bin_dir": BIN,
                "bin_name": {"pg_rewind": PG_REWIND, "postgres": POSTGRES},
                "pgpass": "/run/patroni/pgpass",
                "before_stop": BEFORE_STOP,
                "pre_promote": PRE_PROMOTE,
                "callbacks": {"on_start": ON_START},
                # With a spread checkpoint, the default, a new standby waits for minutes before the first byte. With a
                # slot, pg_basebackup reports what it has flushed, and so confirms commits while Patroni names `*` as
                # synchronous, although its clone is useless until it is complete. WAL that it needs is kept by
                # wal_keep_size.
                "basebackup": [{"checkpoint": "fast"}, "no-slot"],
                # PG_REWIND moves data aside that cannot be rewound; Patroni must not delete it.
                "remove_data_directory_on_rewind_failure": False,
                "remove_data_directory_on_diverged_timelines": False,
                "parameters": {"unix_socket_directories": "/run/postgresql", **tls.parameters()},
                "authentication": {
                    "superuser": {"username": SUPERUSER, "password": secrets.password(SUPERUSER_PASSWORD)},
                    "replication": {
                        "username": REPLICATOR,
                        "password": secrets.password(REPLICATOR_PASSWORD),
                        **tls.CLIENT,
                    },
                    "rewind": {"username": REWINDER, "password": secrets.password(REWINDER_PASSWORD), **tls.CLIENT},
                },
                "pg_hba": self._pg_hba(),
            },
        }

    def _bootstrap(self) -> dict[str, object]:
        """The section without which Patroni creates no cluster."""
        initdb = [
            {"encoding": "UTF8"},
            {"locale": "C.UTF-8"},
            "data-checksums",
            {"auth-local": "peer"},
            {"auth-host": "scram-sha-256"},
            # A standby that follows a new primary streams its last segment again from its start: with the
            # default of 16 MB up to 0.6 s of each failover in the lab.
            {"wal-segsize": "4"},
        ]
        return {"bootstrap": {"dcs": self.dynamic(), "initdb": initdb, "post_bootstrap": AFTER_BOOTSTRAP}}

    def _pg_hba(self) -> list[str]:
        """Who may log in from where; always with TLS and SCRAM, except the superuser, who logs in only through the
        local socket. The first line that fits counts. Nodes are found in /etc/hosts by their address and by their name.
        """
        databases, apps = ([node.name for node in self.context.platform.of(role)] for role in (Role.DB, Role.APPS))
        return [
            f"local all {SUPERUSER} peer",
            f"host all {SUPERUSER} all reject",
            *(f"hostssl replication {REPLICATOR} {name} scram-sha-256" for name in databases),
            *(f"hostssl {MAINTENANCE} {REWINDER} {name} scram-sha-256" for name in databases),
            f"host all {REPLICATOR},{REWINDER} all reject",
            *(f"hostnossl all {PROBER} {name} scram-sha-256" for name in apps),  # nobody: it never gets further
            "hostssl all all samehost scram-sha-256",  # application-probe.sh
            *(f"hostssl all all {name} scram-sha-256" for name in apps),
        ]

    def dynamic(self) -> dict[str, Any]:
        """Patroni's dynamic configuration; every value here is tercet's and is put back when changed by hand."""
        timing, settings = self.context.timing, self.context.platform.settings
        confirming, own = self.context.platform.confirming, self._parameters()
        return {
            "ttl": timing.ttl,
            "loop_wait": timing.loop_wait,
            "retry_timeout": timing.retry_timeout,
            "maximum_lag_on_failover": settings.patroni.maximum_lag_on_failover,
            "check_timeline": True,
            # With one site left, no standby can confirm a write; see docs/recovery.md.
            "synchronous_mode": "quorum" if confirming else False,
            "synchronous_mode_strict": bool(confirming),
            "synchronous_node_count": confirming or 1,
            "failsafe_mode": True,  # without `dcs`, the primary keeps its role while all members see each other
            "primary_start_timeout": 0,  # a crashed primary fails over at once, because a standby has every commit
            "primary_stop_timeout": 10,
            "postgresql": {
                "use_pg_rewind": True,
                "use_slots": True,
                "parameters": {**needed(self.context, own), **own, **settings.postgresql.parameters},
            },
        }

    def _parameters(self) -> dict[str, Setting]:
        """PostgreSQL's parameters, but for those that other components need (components/patroni/parameters.py)."""
        replication_timeout = f"{self.context.timing.replication_timeout_s}s"
        return {
            "shared_buffers": "128MB",
            "wal_log_hints": "on",  # pg_rewind
            # After a crash and after a rewind all files are synced first: by one call for the whole disk, which
            # is the database's own, instead of one for each file.
            "recovery_init_sync_method": "syncfs",
            "synchronous_commit": "on",
            # A lost peer is silent and reports no error. These three settings avoid waiting for it for minutes.
            "wal_sender_timeout": replication_timeout,
            "wal_receiver_timeout": replication_timeout,
            # 5 s by default. A standby waits for it twice until it follows a new primary: for the connection,
            # and at the end of the old timeline. Until it follows, no commit is confirmed.
            "wal_retrieve_retry_interval": "100ms",
            # 30 s by default: a standby that waits for a reader shows old rows, and leads only once it has
            # replayed all of its WAL. With the feedback, vacuum removes no row that a standby still reads.
            "max_standby_streaming_delay": "1s",
            "hot_standby_feedback": "on",
            "tcp_user_timeout": replication_timeout,
            "tcp_keepalives_idle": 1,
            "tcp_keepalives_interval": 1,
            "tcp_keepalives_count": 3,
            "log_line_prefix": "%m [%p] %q%u@%d ",
        }

    def key(self, name: str) -> str:
        """The path in the KV store of `dcs` of Patroni's key with that name."""
        return f"{scope(self.context.platform)}/{name}"

    def _path(self, name: str, parameters: str) -> str:
        return f"/v1/kv/{self.key(name)}{parameters}"

    def _asking(self, name: str, parameters: str = "") -> str:
        """The words for curl that ask the node's own agent for Patroni's key with that name."""
        return endpoints.dcs(self.context.platform).curl(self._path(name, parameters))

    def _gate(self) -> str:
        return text_of(
            __package__,
            "may-start.sh",
            RECORD=self._asking("initialize"),
            RECORDED=self._asking("initialize", VALUE),
            LEADER=self._asking("leader", VALUE),
            SYNC=self._asking("sync", VALUE),
            STEPPED_DOWN=STEPPED_DOWN,
            STEPPED_DOWN_S=STEPPED_DOWN_S,
            CONFIG=CONFIG,
            CONFIGS=CONFIGS,
            DATA=DATA,
            KEEPALIVES=KEEPALIVES,
            PERMISSION=PERMISSION,
            BOOTSTRAP=BOOTSTRAP,
            CREATING=CREATING,
            ASIDE=ASIDE,
            ASIDE_SETTINGS=ASIDE_SETTINGS,
            READONLY=READONLY,
            READONLY_UNIT=READONLY_UNIT,
            SILENT_S=SILENT_S,
            SILENT_AT_BOOT_S=SILENT_AT_BOOT_S,
            SILENT_LOOKS=SILENT_LOOKS,
        )

    def _unit(self) -> bytes:
        return unit_file(
            "Patroni and its PostgreSQL",
            {
                "User": "postgres",
                "Group": "postgres",
                "Nice": -5,  # below Consul, above applications
                "RuntimeDirectory": "patroni postgresql",
                "RuntimeDirectoryMode": "0755",
                "RuntimeDirectoryPreserve": "yes",  # a restarted Patroni finds the running PostgreSQL's socket
                "ExecStartPre": f"+{GATE}",  # as root, which alone may move the given permission
                "ExecStart": f"/usr/bin/patroni {CONFIGS}",
                "ExecReload": "/bin/kill -HUP $MAINPID",
                "KillMode": "process",  # a dead Patroni leaves PostgreSQL running; the next Patroni takes it over
                "TimeoutStartSec": "infinity",
                "TimeoutStopSec": 30,
            },
            sandbox=SANDBOX,
            unit={**NEEDS_TAILNET, "After": "tailnet-ready.service consul-dcs.service"},
        )

    def _cluster(self, node: Node) -> Object:
        """The permission to create the cluster: given once, on the first primary, while no node holds data."""
        here = " || ".join(f"[ -s {path} ]" for path in (f"{DATA}/PG_VERSION", PERMISSION, BOOTSTRAP, CREATING))
        recorded = self._asking("initialize", "?consistent")
        others = [db.name for db in self.context.platform.of(Role.DB) if db != node]
        return Object(
            "the database cluster",
            Exec(("sh", "-c", f"{here} || curl -sf -m 2 -o /dev/null {recorded}")),
            lambda answer: None if answer.ok else "there is none yet",
            (permission.give(PERMISSION, as_yaml(self._bootstrap())),),
            needs=tuple((name, permission.holds_data(DATA)) for name in others),
            permit=permission.nobody_has_data,
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        if node.role is not Role.DB:
            return {}
        return {
            "patroni": self.api("/cluster", node),
            "patroni.self": self.api("/patroni", node),
            "patroni.recorded": Http(endpoints.dcs(self.context.platform), self._path("initialize", "?consistent")),
            "patroni.config": self.api("/config", node),
        }

    def healthy(self) -> Iterable[Condition]:
        """If the cluster ran without a standby to confirm its writes, standbys come first and the setting follows.
        Until then, they stream but do not count.
        """
        standbys = len(self.context.platform.sites) - 1
        title = f"postgresql: one primary, {standbys} streaming standbys" if standbys else ALONE
        yield Condition(title, _replicated(self.context.platform, counted=False), self._units)

    def confirmed(self) -> Iterable[Condition]:
        """What holds when the cluster has the inventory's dynamic configuration."""
        standbys = len(self.context.platform.sites) - 1
        title = f"postgresql: one primary, {standbys} streaming standbys, quorum commit" if standbys else ALONE
        yield Condition(title, _replicated(self.context.platform), self._units)

    @property
    def _units(self) -> tuple[tuple[str, str], ...]:
        return tuple((node.name, UNIT) for node in self.context.platform.of(Role.DB))


def members_of(readings: Readings, databases: Iterable[str]) -> list[dict[str, Any]]:
    """The cluster's members according to the first Patroni that answers; empty if none does."""
    for name in databases:
        cluster = readings.get(name, "patroni").json()
        if cluster and cluster.get("members"):
            return list(cluster["members"])
    return []


def primary_of(readings: Readings, databases: Iterable[str]) -> str:
    """Name of the running primary; empty if there is none."""
    for member in members_of(readings, databases):
        if member.get("role") == "leader" and member.get("state") == "running":
            return str(member["name"])
    return ""


def hand_over(service: str, leader: str, candidate: str) -> Exec:
    """The program that makes Patroni move the lead of the cluster `service` as planned. Run it on the candidate."""
    words = ("switchover", service, "--leader", leader, "--candidate", candidate, "--force")
    return Exec(("patronictl", "-c", CONFIG, *words), timeout=SWITCH_S)


def _replicated(platform: Platform, *, counted: bool = True) -> Callable[[Readings], State]:
    """Every standby streams and counts for commits. Without `counted`, this is required only if the cluster is
    configured so that standbys count.
    """
    databases = [node.name for node in platform.of(Role.DB)]

    def check(readings: Readings) -> State:
        members = members_of(readings, databases)
        if not members:
            if any(readings.get(name, "patroni.recorded").status == 404 for name in databases):
                return Waiting(f"dcs knows no cluster, so no Patroni starts. Where there was one: {RECOVER}")
            return Waiting(f"no Patroni answers ({readings.get(databases[0], 'patroni').why()})")
        primary = primary_of(readings, databases)
        if not primary:
            return Waiting("no running primary")
        config = readings.get(primary, "patroni.config").json()
        alone = not counted and isinstance(config, dict) and not config.get("synchronous_mode")
        roles = ("standby", "replica") if alone else ("standby",)
        streaming = [m for m in members if m.get("state") == "streaming"]
        ready = {m["name"] for m in streaming if any(role in str(m.get("role")) for role in roles)}
        states = {m["name"]: f"is {m.get('role')}, {m.get('state')}" for m in members}
        standbys = [name for name in readings.present(databases) if name != primary]
        late = [f"{name} {states.get(name, 'is not a member')}" for name in standbys if name not in ready]
        return Waiting("; ".join(late)) if late else Passing(f"{primary} is primary")

    return check
