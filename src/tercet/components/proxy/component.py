"""The proxy of each apps node, and the Consul Template that keeps its backends correct.

Invariant: an application has one connection string, `localhost` on each apps node; reads stay at the site and writes
reach the primary wherever it is. Consul Template asks the node's own `dcs` agent, because a forwarded query would hang
if a server is silent. It polls with a `block_query_wait` of one second, and sends a SIGHUP after rendering. The proxy
is a separate enabled unit, because Consul Template runs no command after a reboot if the rendered file did not change.

Consul Template has a user of its own, who may only look up what is in `dcs`, write its own directory, and send signals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tercet.components import endpoints
from tercet.components.consul.tls import FOLDER as CONSUL_TLS
from tercet.components.context import Context
from tercet.components.guard.hungwatch import hungwatch, postgresql
from tercet.components.patroni import component as patroni
from tercet.components.patroni.declaration import logins
from tercet.components.proxy import pgcat, pgpool
from tercet.components.proxy.declaration import USER, ProxyPorts
from tercet.components.proxy.flavour import STATE, Flavour
from tercet.components.proxy.serving import PASSFILE, proxies
from tercet.components.sandbox import Sandbox
from tercet.components.settled import settled
from tercet.components.systemd import NEEDS_TAILNET, unit_file, unit_path
from tercet.components.text import as_json
from tercet.converge.component import Condition, Deviating, Passing, Readings, Skipped, State, Waiting
from tercet.converge.requests import Answer, Exec, Request
from tercet.converge.resources import Absent, Directory, File, Object, Resource, Unit
from tercet.datafile import text_of
from tercet.inventory.platform import Node, Platform, Role

UNIT = "consul-template.service"
CONFIG_DIR = "/etc/consul-template.d"
CONFIG = f"{CONFIG_DIR}/config.json"
TEMPLATE = "/etc/consul-template/proxy.ctmpl"
RENDERED = "/usr/lib/tercet/proxy-rendered"
BLOCK_QUERY_S = 1
RECORD = f"{STATE}/rendered.sha256"
ONCE_RENDERED = ("/etc/pgcat/pgcat.toml", "/var/lib/tercet/routes", "/var/lib/tercet/proxy-rendered.sha256")
"""Where an earlier version had these files, in which there may be a password."""

TRANSACTIONS = "routing: a transaction is the primary's from its first statement on"
FLAVOURS = {"pgcat": pgcat.flavour, "pgpool": pgpool.flavour}

ROUTES = text_of(__package__, "where-it-leads.sh", PASSFILE=PASSFILE, PSQL=patroni.PSQL)


@dataclass(frozen=True, slots=True)
class Proxy:
    """Consul Template and PgCat or pgpool-II."""

    context: Context
    name: str = "proxy"
    after: tuple[str, ...] = ("patroni-lowered",)

    @property
    def kind(self) -> str:
        """pgcat or pgpool."""
        return self.context.proxy

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is not Role.APPS:
            return
        chosen = FLAVOURS[self.context.proxy](self.context, node)
        programs = self.context.program("consul-template")
        yield from self._remove_the_other(node)
        yield from chosen.resources
        yield from programs
        yield Directory("/etc/tercet")
        yield File(PASSFILE, self._passfile(), mode=0o600, secret=True)
        yield from (Absent(path) for path in ONCE_RENDERED)
        yield Directory("/etc/consul-template", mode=0o700, owner=USER, purge=True)
        yield Directory(CONFIG_DIR, purge=True)
        # It contains the application's password, which the rendered file needs.
        yield File(TEMPLATE, chosen.template, mode=0o600, owner=USER, secret=True)
        yield File(RENDERED, _rendered_script(chosen).encode(), mode=0o755)
        yield File(CONFIG, as_json(self._config(chosen)))
        yield File(unit_path(UNIT), self._unit(chosen))
        yield Unit(
            UNIT,
            restart_on=(CONFIG, TEMPLATE, unit_path(UNIT), *(program.link for program in programs)),
            reload_on=(CONSUL_TLS.ca,),
            rolling=proxies(),
        )
        yield from chosen.units
        # 5 to 10 s: its sessions end with it.
        yield from hungwatch(
            "proxywatch",
            "Ends a proxy that does not answer",
            chosen.units[-1].name,
            postgresql(self.context.platform.settings.ports.of(ProxyPorts).proxy),
            looks=5,
            pause_s=1.0,
            whole=True,
        )
        yield Object(
            f"{chosen.rendered} of {node.name}",
            settled("sha256sum", "--check", "--status", RECORD),
            lambda answer: None if answer.ok else "differs from what Consul Template rendered",
            # When Consul Template starts, it renders the file and runs the command if the file differs.
            (Exec(("sh", "-c", f"rm -f {chosen.rendered} && systemctl --no-block restart {UNIT}")),),
        )
        yield from chosen.checks

    def _remove_the_other(self, node: Node) -> Iterable[Resource]:
        for kind, make in FLAVOURS.items():
            if kind != self.context.proxy:
                other = make(self.context, node)
                yield from (Unit(unit.name, active=False) for unit in other.units)
                yield Absent(other.rendered)

    def _config(self, chosen: Flavour) -> dict[str, object]:
        dcs = endpoints.dcs(self.context.platform)
        return {
            "log_level": "info",
            "consul": {
                "address": f"{dcs.host}:{dcs.port}",
                "ssl": {"enabled": True, "ca_cert": dcs.ca},
                "retry": {"attempts": 0, "backoff": "100ms", "max_backoff": "250ms"},  # 0: forever
            },
            "block_query_wait": f"{BLOCK_QUERY_S}s",
            # By default any server may answer with data up to 2 s old. The server of a site that was cut off believes
            # so as soon as it hears the leader again, and replays what it missed: for up to 2.6 s, it led its site's
            # writes back to the old primary.
            "max_stale": "0s",
            "template": [
                {
                    "source": TEMPLATE,
                    "destination": chosen.rendered,
                    "perms": "0640",
                    "user": USER,
                    "group": chosen.group,
                    "command": [RENDERED],
                    "command_timeout": "5s",
                }
            ],
        }

    def _passfile(self) -> bytes:
        settings, secrets = self.context.platform.settings, self.context.secrets
        where = f"localhost:{settings.ports.of(ProxyPorts).proxy}:{settings.postgresql.database}"
        lines = (f"{where}:{name}:{secrets.password(each)}\n" for name, each in logins(self.context.platform).items())
        return "".join(lines).encode()

    def _unit(self, chosen: Flavour) -> bytes:
        return unit_file(
            "Consul Template: the proxy's backends follow Consul",
            {
                "User": USER,
                "SupplementaryGroups": chosen.group,  # nobody else may give a file to the group
                "AmbientCapabilities": "CAP_KILL",  # for the signal to the proxy, which another user runs
                "StateDirectory": STATE.removeprefix("/var/lib/"),
                "Nice": -5,
                "ExecStart": f"/usr/local/bin/consul-template -config={CONFIG}",
                "ExecReload": "/bin/kill -HUP $MAINPID",
                "KillSignal": "SIGINT",
                "TimeoutStopSec": 2,  # it stops slowly while a query blocks
            },
            sandbox=Sandbox(capabilities=("CAP_KILL",), read_only=True),
            unit={**NEEDS_TAILNET, "After": "tailnet-ready.service consul-dcs.service"},
        )

    def routes(self) -> Exec:
        """Asks where an apps node's reads and writes go, for `routes_of`. If it does not end in time, what was found
        until then counts.
        """
        settings = self.context.platform.settings
        words = (settings.postgresql.user, settings.postgresql.database)
        return Exec(("sh", "-c", ROUTES, "sh", *words), timeout=4)

    def questions(self, node: Node) -> Mapping[str, Request]:
        if node.role is Role.APPS:
            return {"routes": self.routes()}
        return patroni.Patroni(self.context).questions(node)

    def healthy(self) -> Iterable[Condition]:
        for node in self.context.platform.of(Role.APPS):
            chosen = FLAVOURS[self.context.proxy](self.context, node)
            yield Condition(
                f"{node.name}: reads stay at the site, writes reach the primary",
                _routed(self.context.platform, node),
                ((node.name, UNIT), (node.name, chosen.unit)),
            )
        yield Condition(TRANSACTIONS, _whole(self.context.platform, chosen.deviation))


@dataclass(frozen=True, slots=True)
class Routes:
    """The database nodes that answer an apps node: its reads, its writes, and the reads of a transaction before its
    first write. "" if none does.
    """

    read: str = ""
    write: str = ""
    transaction: str = ""


def routes_of(answer: Answer) -> Routes:
    """The answer to ROUTES."""
    names, found, asked = dict[str, str](), dict[str, str](), ""
    for line in answer.text.splitlines():
        match line.split():
            case ["read" | "write" | "transaction" as asked]:
                pass
            case [address] if address in names:
                found[asked] = names[address]
            case [address, name, *_]:
                names.setdefault(address, name)
    return Routes(**found)


def _routed(platform: Platform, node: Node) -> Callable[[Readings], State]:
    databases = [database.name for database in platform.of(Role.DB)]
    local = platform.at(node.site, Role.DB).name

    def check(readings: Readings) -> State:
        if node.name in readings.away:
            return Skipped(f"{node.name} cannot be reached")
        answer = readings.get(node.name, "routes")
        to = routes_of(answer)
        primary = patroni.primary_of(readings, databases)
        if not to.read or not to.write:
            found = f"reads: {to.read or 'no answer'}, writes: {to.write or 'no answer'}"
            return Waiting(f"{found} ({answer.error.strip()})")
        if to.read != local and local not in readings.away:
            return Waiting(f"reads are answered by {to.read}, not by {local}")
        if to.write != primary:
            return Waiting(f"writes are answered by {to.write}, the primary is {primary or 'unknown'}")
        return Passing(f"reads {to.read}, writes {to.write}")

    return check


def _whole(platform: Platform, deviation: str) -> Callable[[Readings], State]:
    """The node that answers a transaction's first read at every site. `deviation` is the proxy's known deviation."""
    databases = [database.name for database in platform.of(Role.DB)]
    apps = [node.name for node in platform.of(Role.APPS)]

    def check(readings: Readings) -> State:
        primary = patroni.primary_of(readings, databases)
        found = {name: routes_of(readings.get(name, "routes")) for name in readings.present(apps)}
        mute = [name for name, to in found.items() if not to.transaction]
        wrong = {name: to for name, to in found.items() if to.transaction != primary}
        if mute or not primary:
            return Waiting(f"no answer at {', '.join(mute)}" if mute else "no running primary")
        if not wrong:
            return Passing(f"{primary} at {'every site' if len(found) == len(apps) else ', '.join(found)}")
        said = ", ".join(f"{name}: {to.transaction}" for name, to in wrong.items())
        reason = f"the first read is answered by another node than {primary} ({said})"
        # The known deviation is that the read goes where all reads go, and nowhere else.
        declared = deviation and all(to.transaction == to.read for to in wrong.values())
        return Deviating(f"{reason}; {deviation}") if declared else Waiting(reason)

    return check


def _rendered_script(chosen: Flavour) -> str:
    return text_of(__package__, "rendered.sh", RENDERED=chosen.rendered, RECORD=RECORD, PID_FILE=chosen.pid_file)
