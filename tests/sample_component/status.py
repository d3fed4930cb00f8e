"""The metronome in `status`: where it beats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

from tercet.components.context import Context
from tercet.components.status import StatusModel, Table
from tercet.converge.component import Readings
from tercet.inventory.platform import Role
from tercet.tables import Cell


class MetronomeKeys(StatusModel):
    metronome: dict[str, bool]


def _read(context: Context, readings: Readings) -> MetronomeKeys:
    return MetronomeKeys(metronome={n.name: readings.get(n.name, "beat").ok for n in context.platform.of(Role.APPS)})


def _rows(seen: MetronomeKeys) -> Iterable[Sequence[Cell]]:
    for node, beats in seen.metronome.items():
        yield node, "yes" if beats else Text("no", "red")


BEATS = Table(MetronomeKeys, _read, ("METRONOME", "BEATS"), _rows)
