"""A metronome on every apps node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tercet.components.context import Context
from tercet.components.proof import Proof
from tercet.components.sandbox import PLAIN
from tercet.components.systemd import unit_file, unit_path
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.requests import Exec, Request
from tercet.converge.resources import File, Resource, Unit
from tercet.image import catalog
from tercet.inventory.platform import Node, Role
from tests.sample_component.declaration import BATON, MetronomePorts

UNIT = "metronome.service"
PROGRAM = catalog.Package("metronome", {"metronome": ("--version",)}, {})


def proof(context: Context) -> Proof:
    """Whoever beats keeps the tempo: `verify` alone listens for that long."""
    apps = [node.name for node in context.platform.of(Role.APPS)]

    def check(readings: Readings) -> State:
        off = [name for name in apps if not readings.get(name, "tempo").ok]
        return Waiting(f"{', '.join(off)} is off") if off else Passing()

    asked = {name: {"tempo": Exec(("metronome", "--listen"))} for name in apps}
    return Proof((Condition("metronome: it keeps the tempo", check),), asked)


@dataclass(frozen=True, slots=True)
class Metronome:
    context: Context
    name: str = "metronome"
    after: tuple[str, ...] = ("tailscale",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is Role.APPS:
            port = self.context.platform.settings.ports.of(MetronomePorts).metronome
            baton = self.context.secrets.password(BATON).encode()
            yield File("/etc/metronome/baton", baton, mode=0o600, secret=True)
            yield File(
                unit_path(UNIT),
                unit_file("A metronome", {"ExecStart": f"/usr/local/bin/metronome {port}"}, sandbox=PLAIN),
            )
            yield Unit(UNIT, restart_on=(unit_path(UNIT),))

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {"beat": Exec(("metronome", "--beat"))} if node.role is Role.APPS else {}

    def healthy(self) -> Iterable[Condition]:
        yield Condition("metronome: it beats everywhere", self._beats)

    def _beats(self, readings: Readings) -> State:
        still = [node.name for node in self.context.platform.of(Role.APPS) if not readings.get(node.name, "beat").ok]
        return Waiting(f"no beat at {', '.join(still)}") if still else Passing()
