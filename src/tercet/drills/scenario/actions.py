"""What it takes to make a fault and to end it, as values. run/healing.py carries it out. Pure.

Faults on a node are ended by a transient systemd timer there, `tercet-heal-N`, set before the fault is made. What it
runs is exactly what the tool runs to heal, so there is one remedy and not two.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec

from tercet.converge.requests import Exec
from tercet.providers.base import Faults

GRACE_S = 30.0
"""Seconds that the timers give the tool before they heal in its place."""


@dataclass(frozen=True, slots=True)
class OnNode:
    """Something done on a node."""

    node: str
    request: Exec


@dataclass(frozen=True, slots=True)
class FromOutside:
    """Something that the provider does: a method of its `Faults`, and what it is called with."""

    method: str
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]


Parameters = ParamSpec("Parameters")


def from_outside(
    method: Callable[Concatenate[Faults, Parameters], Awaitable[None]],
    *arguments: Parameters.args,
    **keywords: Parameters.kwargs,
) -> FromOutside:
    """`from_outside(Faults.kill, nodes, seconds=30)`; see providers/base.py."""
    return FromOutside(method.__name__, arguments, tuple(sorted(keywords.items())))


Action = OnNode | FromOutside


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault as a value: what checks that it can be made, what limits it, makes it and ends it, in order.

    `nodes` are the nodes that it hits; `sites` those whose applications cannot be expected to get through. `roaming`
    are the sites whose apps node loses sight of every database: the first one that it sees again answers its reads.
    """

    title: str
    nodes: tuple[str, ...]
    inject: tuple[Action, ...]
    heal: tuple[Action, ...]
    check: tuple[OnNode, ...] = ()
    arm: tuple[OnNode, ...] = ()
    sites: frozenset[str] = frozenset()
    roaming: frozenset[str] = frozenset()


def scripted(title: str, node: str, scripts: tuple[str, str], lasts: float, number: int) -> Fault:
    """A fault on a node, made by the first of two shell scripts and ended by the second, with its timer."""
    make, heal = scripts
    unit = f"tercet-heal-{number}"
    disarm = f"systemctl stop {unit}.timer 2>/dev/null; systemctl reset-failed {unit}.service 2>/dev/null"
    timer = (
        f"{disarm}; systemd-run --quiet --collect --unit={unit} --on-active={lasts + GRACE_S:g}s "
        f"--timer-property=AccuracySec=100ms /bin/sh -c {shlex.quote(heal)}"
    )
    return Fault(
        title,
        (node,),
        inject=(OnNode(node, shell(make)),),
        # The timer stays until the remedy has worked: it may be the only one that gets through later.
        heal=(OnNode(node, shell(f"{heal}; status=$?; [ $status -ne 0 ] || {{ {disarm}; }}; exit $status")),),
        arm=(OnNode(node, shell(timer)),),
    )


def shell(script: str) -> Exec:
    return Exec(("sh", "-c", script), timeout=20)
