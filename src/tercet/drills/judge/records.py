"""Turns lines of the nodes' journals into events. Pure.

The rules come from the components (inventory/components.py).

A time is when the line reached journald on its node, within milliseconds after it was printed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tercet.inventory.components import declarations
from tercet.inventory.journals import UnitJournal, What, rules


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a journal. `unix`: seconds by the node's clock. `unit`: the unit that the line is from or about."""

    unix: float
    unit: str
    manager: bool  # printed by systemd about the unit
    message: str


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """Something that a component logged on a node, at `unix` seconds of that node's clock."""

    unix: float
    node: str
    component: str
    what: str
    subject: str
    text: str


SYSTEMD = rules(
    (What.UNIT_DIED, r"Main process exited, code=(?:killed|dumped|exited), status=(\S+)"),
    (What.UNIT_STARTED, r"^Started "),
)


def journals() -> dict[str, UnitJournal]:
    """The journals that the components declare, by unit."""
    return {journal.unit: journal for component in declarations() for journal in component.journals}


def command(since_unix: float) -> tuple[str, ...]:
    """The command whose output `events` reads: journals of the components' units from `since` (node's clock) on."""
    units = [word for unit in journals() for word in ("--unit", unit)]
    return (
        "journalctl",
        "--output=json",
        "--output-fields=MESSAGE,_SYSTEMD_UNIT,UNIT",
        "--no-pager",
        "--quiet",
        f"--since=@{int(since_unix)}",
        *units,
    )


def events(text: str, node: str) -> list[TimelineEvent]:
    """The events of a node's components, by time. Repeated reports count only when they change."""
    known = journals()
    found = sorted((event for line in lines(text) for event in _told(line, node, known)), key=lambda event: event.unix)
    return list(_without_repetition(found))


def lines(text: str, unit: str = "") -> Iterator[Line]:
    """The lines of `journalctl -o json`, or of `-o short-unix` of the one unit that is named."""
    for raw in text.splitlines():
        line = _from_json(raw) if raw.startswith("{") else _from_short(raw, unit)
        if line is not None:
            yield line


def parse_unit(text: str, node: str, unit: str) -> list[TimelineEvent]:
    """The same as `events` for the journal of one unit, in either format."""
    known = journals()
    return list(_without_repetition([event for line in lines(text, unit) for event in _told(line, node, known)]))


def _from_json(raw: str) -> Line | None:
    try:
        entry: dict[str, Any] = json.loads(raw)
        unix = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    except (ValueError, KeyError):
        return None
    message = entry.get("MESSAGE")
    if isinstance(message, list):  # journald writes bytes that are not UTF-8 in this form
        message = bytes(message).decode("utf-8", "replace")
    if not isinstance(message, str):
        return None
    about = entry.get("UNIT")
    return Line(unix, str(about or entry.get("_SYSTEMD_UNIT", "")), bool(about), message)


_SHORT = re.compile(r"^(\d+\.\d+) \S+ ([^\s:\[]+)(?:\[\d+\])?: (.*)$")


def _from_short(raw: str, unit: str) -> Line | None:
    match = _SHORT.match(raw)
    if match is None:
        return None
    return Line(float(match[1]), unit, match[2] == "systemd", match[3])


def _told(line: Line, node: str, known: Mapping[str, UnitJournal]) -> Iterable[TimelineEvent]:
    journal = known.get(line.unit)
    if journal is None:
        return
    said = {journal.component: (*journal.systemd, *SYSTEMD)} if line.manager else {journal.component: journal.rules}
    if not line.manager:
        said |= journal.others
    for component, of_component in said.items():
        for rule in of_component:
            match = rule.pattern.search(line.message)
            if match is not None:
                subject = match[1] if match.lastindex else ""
                yield TimelineEvent(line.unix, node, component, rule.what, subject, line.message.strip())
                return


def _without_repetition(found: Iterable[TimelineEvent]) -> Iterator[TimelineEvent]:
    """Keep only changes: Patroni repeats the lock's holder, and Consul a critical check, again and again."""
    holder: dict[str, tuple[str, str]] = {}
    critical: set[tuple[str, str]] = set()
    for event in found:
        check = (event.node, event.subject)
        if event.what in (What.LOCK_OWNER, What.LOCK_FREE):
            if holder.get(event.node) == (event.what, event.subject):
                continue
            holder[event.node] = (event.what, event.subject)
        elif event.what is What.CHECK_CRITICAL:
            if check in critical:
                continue
            critical.add(check)
        elif event.what is What.CHECK_SYNCED:
            critical.discard(check)
        yield event
