"""What a soak can draw for a kind of fault. Pure.

Targets are roles ("the primary"), not names, so that a round can be run again with any node as primary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tercet.inventory.components import processes
from tercet.inventory.platform import Role

SITES = ("site of the primary", "site of a standby", "site of the other standby")
DATABASES = ("the primary", "a standby", "the other standby")
CONTROLS = tuple(f"consul-nomad at {site}" for site in SITES)
APPS = tuple(f"apps at {site}" for site in SITES)
FIRST = ("postmaster", "patroni", "proxy", "consul-template", "dcs", "consul", "nomad", "tailscaled")
"""The order in which the first soaks drew processes. Without later processes, their seeds draw the same rounds."""
NODES = (*SITES, *DATABASES, *CONTROLS, *APPS)

Pick = Callable[[Random], Any]


@dataclass(frozen=True, slots=True)
class Drawn:
    """The duration of the fault (seconds, from and to), its target, and the values of its other keys."""

    shortest: int
    longest: int
    target: Pick
    more: Mapping[str, Pick] = field(default_factory=dict)


def one_of(values: Sequence[Any]) -> Pick:
    return lambda random: random.choice(values)


def on_nodes() -> list[str]:
    """Every process on every node that may have it."""
    nodes = {Role.DB: DATABASES, Role.CONTROL: CONTROLS, Role.APPS: APPS}
    known = processes()
    return [
        f"{name} on {node}"
        for role, of_role in nodes.items()
        for name in dict.fromkeys((*FIRST, *known))
        if role in known[name].roles
        for node in of_role
    ]


def a_process(random: Random) -> str:
    return random.choice(on_nodes())


def two_sites(random: Random) -> tuple[str, ...]:
    return tuple(random.sample(SITES, 2))
