"""PostgreSQL's and Patroni's dynamic configuration in `dcs`, and the restarts that it needs.

There are three components, because each depends on the result of the one before. `Settings` brings the whole
configuration to the state in the inventory, and waits until each member has read it. `Restarts` lets Patroni restart
the members that report a pending restart, standbys before the primary. A second round follows, because a standby can
run with a lower max_connections (and similar settings) only after the primary does: before that, its restart changes
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tercet.components import endpoints
from tercet.components.context import Context
from tercet.components.patroni.component import BIN, CONFIG, DATA, Patroni
from tercet.components.patroni.tls import FOLDER
from tercet.components.rolling import databases
from tercet.converge.component import Condition
from tercet.converge.requests import Answer, Exec, Request
from tercet.converge.resources import Object, Resource
from tercet.datafile import text_of
from tercet.inventory.platform import Node, Role

DYNAMIC = "PostgreSQL's dynamic configuration"

REPLACE = text_of(__package__, "settings-replace.sh", CONFIG=CONFIG, CA=FOLDER.ca)


@dataclass(frozen=True, slots=True)
class Settings:
    """The dynamic configuration with all its settings."""

    context: Context
    name: str = "patroni-settings"
    after: tuple[str, ...] = ("patroni",)

    def desired(self, node: Node) -> Iterable[Resource]:
        # Declared once. The first database node that answers makes the change, and calls itself by its own name.
        if node != self.context.platform.initial_primary:
            return
        wanted = Patroni(self.context).dynamic()
        platform = self.context.platform
        databases = tuple(database.name for database in platform.of(Role.DB))
        members = (endpoints.patroni(platform, name).url("/patroni") for name in databases)
        words = ("sh", "-c", REPLACE, "sh", str(self.context.timing.loop_wait), *members)
        own = endpoints.patroni(platform, "$(hostname)").curl("/config")
        yield Object(
            DYNAMIC,
            Exec(("sh", "-c", f"exec curl -sf -m 2 {own}")),
            _differs_from(wanted),
            (Exec(words, stdin=json.dumps(wanted).encode(), timeout=60),),
            on=databases,
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        return Patroni(self.context).questions(node)

    def healthy(self) -> Iterable[Condition]:
        return Patroni(self.context).confirmed()


FIRST, SECOND = "patroni-restarts", "patroni-lowered"  # rounds of restarts: see restarts_of_lowered
PENDING = text_of(__package__, "settings-pending.sh", BIN=BIN, DATA=DATA, CA=FOLDER.ca)
# As pg_controldata calls them → as settings.
BOUND_TO_PRIMARY = {
    "max_connections": "max_connections",
    "max_worker_processes": "max_worker_processes",
    "max_wal_senders": "max_wal_senders",
    "max_prepared_xacts": "max_prepared_transactions",
    "max_locks_per_xact": "max_locks_per_transaction",
}


@dataclass(frozen=True, slots=True)
class Restarts:
    """PostgreSQL runs with its present settings: a restart if one is pending and has an effect."""

    context: Context
    name: str = FIRST
    after: tuple[str, ...] = ("patroni-settings",)
    follows: tuple[str, ...] = (DYNAMIC,)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is not Role.DB:
            return
        settings = self.context.platform.settings
        url = endpoints.patroni(self.context.platform, node.name).url("/patroni")
        words = ("patronictl", "-c", CONFIG, "restart", settings.postgresql.service, node.name, "--pending", "--force")
        yield Object(
            _restart_of(node, self.name),
            Exec(("sh", "-c", PENDING, "sh", url)),
            _restart_needed,
            (Exec(words, timeout=60),),
            rolling=databases("postgresql", node, self.context.platform),
            follows=self.follows,
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        return Patroni(self.context).questions(node)

    def healthy(self) -> Iterable[Condition]:
        return Patroni(self.context).confirmed()


def restarts_of_lowered(context: Context) -> Restarts:
    """The second round: standbys whose primary now runs with the lower value."""
    first_round = tuple(_restart_of(node, FIRST) for node in context.platform.of(Role.DB))
    return Restarts(context, SECOND, (FIRST,), first_round)


def _restart_of(node: Node, round_: str) -> str:
    return f"PostgreSQL of {node.name}" + (", second restart" if round_ == SECOND else "")


def _differs_from(wanted: Mapping[str, Any]) -> Callable[[Answer], str | None]:
    return lambda answer: _config_differs(wanted, answer)


def _config_differs(wanted: Mapping[str, Any], answer: Answer) -> str | None:
    current = answer.json()
    if not isinstance(current, dict):
        # Before the cluster exists: Patroni writes the same values itself when it creates the cluster.
        return None
    found, expected = dict(_leaves(current)), dict(_leaves(wanted))
    for path in [*expected, *(path for path in found if path not in expected)]:
        if path not in expected:
            return f"{path} is {found[path]}, not set by the inventory"
        if path not in found or _text(found[path]) != _text(expected[path]):
            return f"{path} is {found.get(path, 'not set')}, wanted {expected[path]}"
    return None


def _text(value: object) -> str:
    """Compare values as PostgreSQL does: on and true are the same, and so are 100 and "100"."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _leaves(data: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _restart_needed(answer: Answer) -> str | None:
    found = answer.json() or {}
    reasons = found.get("pending_restart_reason") or {}
    if not found.get("pending_restart"):
        return None
    if found.get("role") == "replica" and reasons:
        primary = dict(line.split() for line in found.get("values_of_primary", []) if line)
        bound = {setting: int(primary.get(name, 0)) for name, setting in BOUND_TO_PRIMARY.items()}
        if all(_number(reason.get("new_value")) < bound.get(name, 0) for name, reason in reasons.items()):
            return None
    return f"{', '.join(sorted(reasons)) or 'a changed setting'} needs a restart of PostgreSQL"


def _number(value: object) -> float:
    """A setting as a number; infinite if it is not a number, so that it never counts as lower."""
    try:
        return float(str(value))
    except ValueError:
        return float("inf")
