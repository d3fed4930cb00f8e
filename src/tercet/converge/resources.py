"""What a node must have, as values. The planner compares them with what the node reports.

A component yields these from `desired`; the same inventory yields the same values, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tercet.converge.requests import Answer, Late, Request


@dataclass(frozen=True, slots=True)
class File:
    """A regular file with exactly this content, owner and mode. `secret` keeps its content out of every diff."""

    path: str
    content: bytes | Late = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory. With `purge`, whatever is in it and is not desired is removed (for conf.d directories)."""

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"
    purge: bool = False


@dataclass(frozen=True, slots=True)
class Absent:
    """A file that must not be there, such as what another choice of proxy left behind."""

    path: str


@dataclass(frozen=True, slots=True)
class Program:
    """A component's binary at /opt/tercet/programs/NAME/SHA256/NAME with a link /usr/local/bin/NAME to it.

    The image brings it; a node whose link differs gets it from `source` (a file on the operator's machine).
    The link's name carries the sha256, so the plan needs no hashing of a hundred megabytes.
    """

    name: str
    version: str
    sha256: str
    source: Path

    @property
    def link(self) -> str:
        return f"/usr/local/bin/{self.name}"

    @property
    def target(self) -> str:
        return f"/opt/tercet/programs/{self.name}/{self.sha256}/{self.name}"


@dataclass(frozen=True, slots=True)
class Rolling:
    """Restarts of running members of `group` happen one at a time, each ended by the component's conditions.

    `rank` is asked of each member before; members are taken by ascending `order(answer)`, so that a leader or
    a primary, which answers higher, comes last.
    """

    group: str
    rank: Request
    order: Callable[[Answer], int]


@dataclass(frozen=True, slots=True)
class Unit:
    """A systemd unit that is enabled and active, and was started with the configuration that is on disk.

    A change of a path in `restart_on` restarts it, a change of one in `reload_on` reloads it. What a unit was
    started with is kept as a stamp in /run (see nodeside/agent.py), so a change whose restart never
    happened is found again. `active=False` means disabled and stopped.
    """

    name: str
    restart_on: tuple[str, ...] = ()
    reload_on: tuple[str, ...] = ()
    rolling: Rolling | None = None
    active: bool = True


@dataclass(frozen=True, slots=True)
class Object:
    """State inside a running program: a role in a database, a login, a dynamic setting.

    `probe` is asked; `differs(answer)` is None when all is well, else the reason for the change; `change` are
    the requests that make it so, in order. `needs` are further questions to other nodes which `permit` judges
    before the change: it returns None to go on, else why the change must not happen (then apply stops there).
    With `on`, the object belongs to no single node: the first reachable one of `on` carries it out.
    """

    name: str
    probe: Request
    differs: Callable[[Answer], str | None]
    change: tuple[Request, ...]
    needs: tuple[tuple[str, Request], ...] = ()
    permit: Callable[[dict[str, Answer]], str | None] | None = None
    on: tuple[str, ...] = ()
    rolling: Rolling | None = None
    settle: float = 30.0  # seconds within which `differs` must be None after the change


Resource = File | Directory | Absent | Program | Unit | Object
