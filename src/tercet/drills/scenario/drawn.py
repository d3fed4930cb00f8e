"""What a soak may draw of a kind of fault. Pure.

Targets are roles ("the primary"), not names, so that a round can be run again whoever is primary by then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

SITES = ("site of the primary", "site of a standby", "site of the other standby")
DATABASES = ("the primary", "a standby", "the other standby")
CONTROLS = tuple(f"consul-nomad at {site}" for site in SITES)
APPS = tuple(f"apps at {site}" for site in SITES)
PROCESSES = (
    *(
        f"{process} on {node}"
        for process in ("postmaster", "patroni", "dcs", "consul", "tailscaled")
        for node in DATABASES
    ),
    *(f"{process} on {node}" for process in ("dcs", "consul", "nomad", "tailscaled") for node in CONTROLS),
    *(
        f"{process} on {node}"
        for process in ("proxy", "consul-template", "dcs", "consul", "nomad", "tailscaled")
        for node in APPS
    ),
)
NODES = (*SITES, *DATABASES, *CONTROLS, *APPS)

Pick = Callable[[Random], Any]


@dataclass(frozen=True, slots=True)
class Drawn:
    """How long the fault lasts (seconds, from and to), its target, and the values of its other keys."""

    shortest: int
    longest: int
    target: Pick
    more: Mapping[str, Pick] = field(default_factory=dict)


def one_of(values: Sequence[Any]) -> Pick:
    return lambda random: random.choice(values)


def two_sites(random: Random) -> tuple[str, ...]:
    return tuple(random.sample(SITES, 2))
