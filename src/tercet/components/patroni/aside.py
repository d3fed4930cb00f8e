"""Database files that could not be rewound: moved aside instead of deleted, shown, and removed when they are too old.

nodeside/rewind.py says when this happens, and nodeside/aside.py how.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files

from tercet.components.context import Context
from tercet.components.patroni import component as patroni
from tercet.components.patroni.rewind import ASIDE, ASIDE_SETTINGS
from tercet.components.sandbox import PLAIN
from tercet.components.status import StatusModel
from tercet.components.systemd import unit_file, unit_path
from tercet.components.text import as_json
from tercet.converge.component import Condition, Readings
from tercet.converge.requests import Answer, Exec, Request
from tercet.converge.resources import Directory, File, Resource, Unit
from tercet.datafile import text_of
from tercet.inventory.model import AsideModel
from tercet.inventory.platform import Node, Platform, Role

SERVICE, TIMER = "tercet-aside.service", "tercet-aside.timer"
CLEAN_S = 60  # between two checks whether something must be removed
REMOVE_S = 600.0  # seconds for one removal, enough for a large database on a slow disk
NEAR = 0.25  # the part of keep_days before its end in which `status` warns
NEAR_PERCENT = 10.0  # and the distance from min_free_percent

_COMMAND = ("/usr/bin/python3", "-I", ASIDE, ASIDE_SETTINGS)
# Python is started only if there is something to list, because each `status` asks.
_LIST = f'for each in {patroni.DATA}.aside-*; do [ -e "$each" ] && exec "$@"; done; echo "{{}}"'

_TITLE = "Removes database files that were moved aside, when they are too old or room is needed"
_SERVICE = unit_file(
    _TITLE,
    {
        "Type": "oneshot",
        "User": "postgres",
        "ExecStart": " ".join((*_COMMAND, "clean")),
        "Nice": 10,
        "IOSchedulingClass": "idle",
    },
    sandbox=PLAIN,
    restart=False,
    wanted_by="",  # the timer starts it
)
_TIMER = text_of(__package__, "aside.timer", TITLE=_TITLE, CLEAN_S=CLEAN_S)


class AsideStatus(StatusModel):
    """Database files that could not be rewound and were moved aside on their node, at `moved`, because of `reason`.
    They are removed at `until`, or before if their disk becomes full; `warning`: why that is soon. Times: ISO 8601."""

    node: str
    name: str
    path: str
    bytes: int
    moved: str
    until: str
    reason: str
    warning: str


@dataclass(frozen=True, slots=True)
class Aside:
    """The program on each database node that moves, lists and removes them. Comes before Patroni, which uses it."""

    context: Context
    name: str = "aside"
    after: tuple[str, ...] = ("guard",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is not Role.DB:
            return
        keep = self.context.platform.settings.aside
        settings = {
            "data": patroni.DATA,
            "programs": patroni.BIN,
            "keep_days": keep.keep_days,
            "min_free_percent": keep.min_free_percent,
        }
        yield Directory("/etc/tercet")
        yield patroni.HOME
        yield File(ASIDE, files("tercet.nodeside").joinpath("aside.py").read_bytes())
        yield File(ASIDE_SETTINGS, as_json(settings))
        yield File(unit_path(SERVICE), _SERVICE)
        yield File(unit_path(TIMER), _TIMER.encode())
        yield Unit(TIMER, restart_on=(unit_path(SERVICE), unit_path(TIMER)))

    def questions(self, node: Node) -> Mapping[str, Request]:
        if node.role is not Role.DB:
            return {}
        command = (*patroni.AS_POSTGRES, *_COMMAND, "list")
        return {"aside": Exec(("sh", "-c", _LIST, "sh", *command))}

    def healthy(self) -> Iterable[Condition]:
        return ()


def removal(name: str) -> Exec:
    """The program that removes the files of that name from its node."""
    return Exec((*patroni.AS_POSTGRES, *_COMMAND, "remove", name), timeout=REMOVE_S)


def moved_aside(platform: Platform, readings: Readings, now: datetime) -> list[AsideStatus]:
    """The database files that were moved aside, on every database node that answered."""
    keep = platform.settings.aside
    return [each for name in platform.databases for each in _kept(name, readings.get(name, "aside"), keep, now)]


def _kept(node: str, answer: Answer, keep: AsideModel, now: datetime) -> list[AsideStatus]:
    """The files that the node has kept, the oldest first; empty if it does not answer."""
    said = answer.json() or {}
    found: list[AsideStatus] = []
    for each in said.get("aside", ()):
        moved = datetime.fromtimestamp(each["moved"], UTC)
        until = moved + timedelta(days=keep.keep_days)
        room = said["free_percent"] if not found else 100.0  # the oldest is removed first
        found.append(
            AsideStatus(
                node=node,
                name=each["name"],
                path=each["path"],
                bytes=each["bytes"],
                moved=moved.isoformat(),
                until=until.isoformat(),
                reason=each["reason"],
                warning=_warning(keep, until - now, room),
            )
        )
    return found


def _warning(keep: AsideModel, left: timedelta, free_percent: float) -> str:
    """The reason why files with this much time left, on a disk with this much room, are removed soon; "" otherwise."""
    if free_percent < keep.min_free_percent + NEAR_PERCENT:
        return f"removed when less than {keep.min_free_percent} % of the disk is free; it is {free_percent:.0f} % now"
    if left < NEAR * timedelta(days=keep.keep_days):
        return f"removed when {keep.keep_days} days are over, in {max(left, timedelta()) / timedelta(days=1):.1f} days"
    return ""
