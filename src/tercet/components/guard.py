"""The small daemons beside Consul: the dead-peer guard, the placement of `dcs`'s leader, and one for restored servers.

What they do and why is in nodeside/guard.py, nodeside/placement.py and nodeside/rollback.py, the programs themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

from tercet.components.context import Context
from tercet.components.systemd import CONTROL_PLANE, unit_file, unit_path
from tercet.components.text import as_json
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.requests import Active, Exec, Request
from tercet.converge.resources import Directory, File, Resource, Unit
from tercet.inventory.platform import Node, Platform, Role

GUARD = "tercet-guard.service"
PLACEMENT = "tercet-placement.service"
ROLLBACK = "tercet-rollback.service"
RESTORED = "/var/lib/tercet/restored"


def daemon(
    name: str, title: str, config: dict[str, object], after: str = "", *, secret: bool = False
) -> Iterable[Resource]:
    """A program of tercet/nodeside as a systemd service, its configuration in one JSON file."""
    program, settings, unit = (
        f"/usr/lib/tercet/{name}.py",
        f"/etc/tercet/{name}.json",
        f"tercet-{name}.service",
    )
    source = files("tercet.nodeside").joinpath(f"{name}.py").read_bytes()
    yield Directory("/etc/tercet")
    yield File(program, source)
    yield File(settings, as_json(config), mode=0o600 if secret else 0o644, secret=secret)
    start = {
        **CONTROL_PLANE,
        "ExecStart": f"/usr/bin/python3 -I {program} {settings}",
        "TimeoutStopSec": 3,
    }
    yield File(unit_path(unit), unit_file(title, start, unit={"After": after} if after else None))
    yield Unit(unit, restart_on=(program, settings, unit_path(unit)))


@dataclass(frozen=True, slots=True)
class Guard:
    """Dead-peer guard on every node, the other two on the control nodes."""

    context: Context
    name: str = "guard"
    after: tuple[str, ...] = ("tailscale",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is Role.WORLD:
            return
        platform = self.context.platform
        ports = platform.settings.ports
        gossip = [
            ports.consul_serf_lan,
            ports.consul_serf_wan,
            ports.dcs_serf_lan,
            ports.dcs_serf_wan,
            ports.nomad_serf,
        ]
        guard: dict[str, object] = {
            "members_port": ports.dcs_http,
            "probe_port": ports.dcs_serf_lan,
            "exempt_ports": gossip,
        }
        yield from daemon("guard", "Dead-peer guard", guard)
        if node.role is Role.CONTROL:
            placement: dict[str, object] = {
                "url": f"http://127.0.0.1:{ports.dcs_http}/v1",
                "node": node.name,
                "sites": {member.name: member.site for member in platform.nodes},
                "leader_key": f"service/{platform.settings.postgresql.service}/leader",
            }
            yield from daemon("placement", "Keeps the leader of dcs away from the primary", placement)
            rollback: dict[str, object] = {
                "url": f"http://127.0.0.1:{ports.dcs_http}/v1/kv/tercet/count/{node.name}",
                "count": "/var/lib/tercet/count",
                "mark": RESTORED,
            }
            yield from daemon("rollback", "Notices that this node was restored from an older copy", rollback)

    def questions(self, node: Node) -> Mapping[str, Request]:
        if node.role is Role.WORLD:
            return {}
        questions: dict[str, Request] = {"guard": Active(GUARD)}
        if node.role is Role.CONTROL:
            questions["restored"] = Exec(("sh", "-c", f"[ ! -e {RESTORED} ] || cat {RESTORED}"))
        return questions

    def healthy(self) -> Iterable[Condition]:
        names = [node.name for node in self.context.platform.nodes]
        yield Condition("guard: runs on every node", _active(names), tuple((name, GUARD) for name in names))
        controls = tuple((node.name, ROLLBACK) for node in self.context.platform.of(Role.CONTROL))
        yield Condition(
            "control: no server was restored from an old copy", _not_restored(self.context.platform), controls
        )


def _active(names: list[str]) -> Callable[[Readings], State]:
    def check(readings: Readings) -> State:
        down = [name for name in names if readings.get(name, "guard").text.strip() != "active"]
        return Waiting(f"not active on {', '.join(down)}") if down else Passing(f"{len(names)} nodes")

    return check


def _not_restored(platform: Platform) -> Callable[[Readings], State]:
    controls = [node.name for node in platform.of(Role.CONTROL)]

    def check(readings: Readings) -> State:
        for name in controls:
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
