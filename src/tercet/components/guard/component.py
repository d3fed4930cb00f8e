"""The small daemons beside Consul and Tailscale: the dead-peer guard, the one that keeps direct paths, the placement of
`dcs`'s leader, and one for restored servers.

The programs nodeside/guard.py, paths.py, placement.py and rollback.py say what they do and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType

from tercet import nodeside
from tercet.components import endpoints
from tercet.components.context import Context
from tercet.components.dcs.declaration import DcsPorts
from tercet.components.firewall.declaration import UNIT as FIREWALL_UNIT
from tercet.components.patroni.declaration import scope
from tercet.components.sandbox import PLAIN, Sandbox
from tercet.components.systemd import CONTROL_PLANE, Value, unit_file, unit_path
from tercet.components.tailscale.component import HOSTS, SOCKET
from tercet.components.text import as_json
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.requests import Active, Answer, Exec, Request
from tercet.converge.resources import Directory, File, Resource, Unit
from tercet.inventory.components import declarations
from tercet.inventory.platform import Node, Platform, Role
from tercet.nodeside.firewall import TABLE as FIREWALL

GUARD = "tercet-guard.service"
PLACEMENT = "tercet-placement.service"
ROLLBACK = "tercet-rollback.service"
RESTORED = "/var/lib/tercet/restored"
LIBRARY = "/usr/lib/tercet"
CLIENT = ("api", "endpoint")  # the modules that a program needs to call an API

# For a daemon that reports when it is ready and that it still works (nodeside/host.py). If it hangs, it is restarted,
# because it would be active and do nothing. 30 s is far above all of its time limits and above a node's pause in a
# drill.
SUPERVISED: Mapping[str, str | int] = {"Type": "notify", "WatchdogSec": 30, "WatchdogSignal": "SIGKILL"}


def program(
    name: str,
    title: str,
    config: Mapping[str, object],
    *,
    runs: str = "",
    modules: Iterable[str] = (),
    secret: bool = False,
    service: Mapping[str, str | int] = MappingProxyType({}),
    unit: Mapping[str, Value] | None = None,
    sandbox: Sandbox = PLAIN,
) -> tuple[Directory | File, ...]:
    """The files of a daemon: a program of tercet/nodeside with the modules that it imports from there, its
    configuration in one JSON file, and its unit. The program has the daemon's name, unless `runs` names another one.
    """
    runs = runs or name
    path, settings = f"{LIBRARY}/{runs}.py", f"/etc/tercet/{name}.json"
    start = {
        **CONTROL_PLANE,
        **service,
        # The program's own folder is on the path, for the modules; the environment is ignored.
        "ExecStart": f"/usr/bin/python3 -BEs {path} {settings}",
        "TimeoutStopSec": 3,
    }
    return (
        Directory("/etc/tercet"),
        *library(modules),
        File(path, source(runs)),
        File(settings, as_json(config), mode=0o600 if secret else 0o644, secret=secret),
        File(unit_path(f"tercet-{name}.service"), unit_file(title, start, unit=unit, sandbox=sandbox)),
    )


def library(modules: Iterable[str]) -> tuple[Directory | File, ...]:
    """The modules of tercet/nodeside that programs import on a node."""
    package = f"{LIBRARY}/tercet"
    return (
        Directory(package),
        File(f"{package}/__init__.py", b""),
        Directory(f"{package}/nodeside"),
        *(File(f"{package}/nodeside/{module}.py", source(module)) for module in ("__init__", *modules)),
    )


def daemon(
    name: str,
    title: str,
    config: Mapping[str, object],
    *,
    runs: str = "",
    modules: Iterable[str] = (),
    secret: bool = False,
    service: Mapping[str, str | int] = MappingProxyType({}),
    sandbox: Sandbox = PLAIN,
) -> Iterable[Resource]:
    """The files of a daemon, and its unit running."""
    resources = program(
        name, title, config, runs=runs, modules=modules, secret=secret, service=service, sandbox=sandbox
    )
    yield from resources
    yield Unit(f"tercet-{name}.service", restart_on=tuple(each.path for each in resources if isinstance(each, File)))


def source(module: str) -> bytes:
    """The text of a module of tercet/nodeside."""
    return files(nodeside).joinpath(f"{module}.py").read_bytes()


@dataclass(frozen=True, slots=True)
class Guard:
    """The guard and tercet-paths on every node, the other two on the control nodes."""

    context: Context
    name: str = "guard"
    after: tuple[str, ...] = ("firewall",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is Role.WORLD:
            return
        platform = self.context.platform
        ports, dcs = platform.settings.ports, endpoints.dcs(platform)._asdict()
        own_agent = endpoints.dcs_agent(platform, node.name, self.context.secrets)._asdict()
        port_of = ports.model_dump()
        gossip = [port_of[name] for component in declarations() for name in component.gossip]
        guard: dict[str, object] = {
            "dcs": own_agent,
            "probe_port": ports.of(DcsPorts).dcs_serf_lan,
            "probe_s": self.context.timing.peer_probe_ms / 1000,
            "exempt_ports": gossip,
            "tailnet": str(platform.settings.tailnet.cidr),
            "sites": {member.name: member.site for member in platform.nodes if member.site != node.site},
            "firewall": {"table": FIREWALL, "unit": FIREWALL_UNIT},
        }
        # Without a limit for its start: it tries until the rule can be installed, and reports why it cannot be.
        service = {**SUPERVISED, "TimeoutStartSec": "infinity"}
        modules = (*CLIENT, "host", "tailnet")
        sandbox = Sandbox(capabilities=("CAP_NET_ADMIN",))  # nft, `ss --kill`
        title = "Dead-peer guard"
        yield from daemon("guard", title, guard, modules=modules, secret=True, service=service, sandbox=sandbox)
        paths: dict[str, object] = {
            "socket": SOCKET,
            "hosts": HOSTS,
            # Links within a site do not lose packets.
            "peers": [member.name for member in platform.nodes if member.site != node.site],
            "tailnet": str(platform.settings.tailnet.cidr),
        }
        title = "Keeps direct paths in use on a line that loses packets"
        yield from daemon("paths", title, paths, modules=("host", "tailnet"), service=SUPERVISED)
        if node.role is Role.CONTROL:
            placement: dict[str, object] = {
                "dcs": dcs,
                "node": node.name,
                "sites": {member.name: member.site for member in platform.nodes},
                "leader_key": leader_key(platform),
            }
            yield from daemon("placement", "Keeps the leader of dcs away from the primary", placement, modules=CLIENT)
            rollback: dict[str, object] = {
                "dcs": dcs,
                "key": counted(node),
                "count": "/var/lib/tercet/count",
                "mark": RESTORED,
            }
            title = "Notices that this node was restored from an older copy"
            yield from daemon("rollback", title, rollback, modules=CLIENT)

    def questions(self, node: Node) -> Mapping[str, Request]:
        if node.role is Role.WORLD:
            return {}
        questions: dict[str, Request] = {"guard": Active(GUARD)}
        if node.role is Role.CONTROL:
            questions["restored"] = Exec(("sh", "-c", f"[ ! -e {RESTORED} ] || cat {RESTORED}"))
        return questions

    def healthy(self) -> Iterable[Condition]:
        names = [node.name for node in self.context.platform.nodes]
        yield Condition("guard: runs on every node", active(names, "guard"), tuple((name, GUARD) for name in names))
        controls = tuple((node.name, ROLLBACK) for node in self.context.platform.of(Role.CONTROL))
        yield Condition(
            "control: no server was restored from an old copy", _not_restored(self.context.platform), controls
        )


def leader_key(platform: Platform) -> str:
    """The key in `dcs` whose value is the primary's name."""
    return f"{scope(platform)}/leader"


def counted(node: Node) -> str:
    """The key in `dcs` of the node's count (nodeside/rollback.py)."""
    return f"tercet/count/{node.name}"


def active(names: list[str], question: str) -> Callable[[Readings], State]:
    """Holds if the unit that `question` asks about is active on each of these nodes."""

    def check(readings: Readings) -> State:
        answers = {name: readings.get(name, question) for name in readings.present(names)}
        down = [f"{name}: {_why(answer)}" for name, answer in answers.items() if not answer.ok]
        return Waiting("; ".join(down)) if down else Passing(f"{len(answers)} nodes")

    return check


def _not_restored(platform: Platform) -> Callable[[Readings], State]:
    controls = [node.name for node in platform.of(Role.CONTROL)]

    def check(readings: Readings) -> State:
        for name in readings.present(controls):
            answer = readings.get(name, "restored")
            if not answer.ok:
                return Waiting(f"{name} does not say ({answer.why()})")
            if seconds := answer.text.strip():
                return Waiting(
                    f"{name} came back from a copy that was {seconds} s old or older: its Raft servers forgot what "
                    f"they voted for and confirmed since. Prove the platform with `tercet verify`, then "
                    f"`tercet exec {name} -- rm {RESTORED}`"
                )
        return Passing()

    return check


def _why(answer: Answer) -> str:
    state = answer.text.strip()
    return f"{state} ({answer.error})" if state and answer.error else state or answer.why()
