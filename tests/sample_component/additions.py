"""What the metronome adds to the configuration of others: a parameter of PostgreSQL, and a service in `dcs`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tercet.components.context import Context
from tercet.components.dcs.services import Services
from tercet.components.patroni.parameters import Parameters
from tercet.inventory.platform import Node, Role
from tests.sample_component.declaration import MetronomePorts


def _services(context: Context, node: Node) -> Iterable[Mapping[str, object]]:
    if node.role is Role.APPS:
        yield {"name": "metronome", "port": context.platform.settings.ports.of(MetronomePorts).metronome}


TEMPO = Parameters(lambda _context: {"metronome.tempo": 90})
SERVICE = Services(_services)
