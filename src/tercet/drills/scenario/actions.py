"""The actions that make a fault and end it, as values. run/healing.py carries them out. Pure.

A fault on a node is also ended by a transient systemd timer there, `tercet-heal-N`, which is set before the fault is
made. The timer runs exactly the same script as the tool, so there is only one way to heal.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec

from tercet.converge.requests import Exec
from tercet.providers.base import Faults

GRACE_S = 30.0
"""Seconds that the timers wait for the tool to heal before they do it."""


@dataclass(frozen=True, slots=True)
class OnNode:
    """An action on a node."""

    node: str
    request: Exec


@dataclass(frozen=True, slots=True)
class FromOutside:
    """An action of the provider: a method of its `Faults`, and its arguments."""

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
    """A fault as a value: the actions that check, limit, make and end it, in this order.

    `nodes` are the nodes that it hits, and `sites` those whose applications are not expected to get through. `roaming`
    are the sites whose apps node loses the connection to every database: the first database that it can reach again
    answers its reads.
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
        # The timer stays until the healing has worked: later, it may be the only one that can do it.
        heal=(OnNode(node, shell(f"{heal}; status=$?; [ $status -ne 0 ] || {{ {disarm}; }}; exit $status")),),
        arm=(OnNode(node, shell(timer)),),
    )


def shell(script: str) -> Exec:
    return Exec(("sh", "-c", script), timeout=20)
