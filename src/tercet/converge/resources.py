"""What a node must have, as values. The planner compares them with what the node reports.

A component yields these from `desired`; the same inventory yields the same values, byte for byte. `target` is what
a resource is in plans and messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from pathlib import Path

from tercet.converge.requests import Answer, Deferred, Request
from tercet.converge.target import Kind, Target


@dataclass(frozen=True, slots=True)
class File:
    """A regular file with exactly this content, owner and mode. `secret` keeps its content out of every diff."""

    path: str
    content: bytes | Deferred = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    secret: bool = False

    @property
    def target(self) -> Target:
        return Target(Kind.FILE, self.path)


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory. With `purge`, whatever is in it and is not desired is removed (for conf.d directories)."""

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"
    purge: bool = False

    @property
    def target(self) -> Target:
        return Target(Kind.DIRECTORY, self.path)


@dataclass(frozen=True, slots=True)
class Absent:
    """A file that must not be there, such as what another choice of proxy left behind."""

    path: str

    @property
    def target(self) -> Target:
        return Target(Kind.FILE, self.path)


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
    def target(self) -> Target:
        return Target(Kind.PROGRAM, self.name, text=f"program {self.name} {self.version}")

    @property
    def link(self) -> str:
        return f"/usr/local/bin/{self.name}"

    @property
    def binary(self) -> str:
        return f"/opt/tercet/programs/{self.name}/{self.sha256}/{self.name}"


class Standing(Enum):
    """What a member of a group is now, as it says itself."""

    DOWN = "down"
    """It certainly serves nobody: its restart disturbs nobody, so it is repaired first and waits for nobody."""
    FOLLOWER = "follower"
    LEADER = "leader"
    """A Raft's leader, or the primary."""


class Turn(IntEnum):
    """The order in which running members are disturbed: servers before clients, followers before leaders.

    A server comes first because a new server understands an old client, and an old one need not understand a new
    client. A leader comes last because each restart of a leader is an election.
    """

    NOBODY = 0  # nobody that serves is disturbed
    SERVER = 1
    LEADING_SERVER = 2
    CLIENT = 3
    LEADERS_CLIENT = 4


@dataclass(frozen=True, slots=True)
class Rolling:
    """Running members of `group` are disturbed one at a time, in the order of Turn, whatever the reason is; after each
    of them the component's conditions must hold again.

    `question` is asked of each member before, and `standing` reads the answer. A `client` needs the servers of its
    component; on the leader's own node it is the last one.

    Members need one another, as those of a quorum do: while one of them cannot be reached none of the others is
    disturbed, unless each works `alone`.
    """

    group: str
    question: Request
    standing: Callable[[Answer], Standing]
    client: bool = False
    alone: bool = False

    def turn(self, answer: Answer) -> Turn:
        match self.standing(answer), self.client:
            case Standing.DOWN, _:
                return Turn.NOBODY
            case Standing.FOLLOWER, False:
                return Turn.SERVER
            case Standing.LEADER, False:
                return Turn.LEADING_SERVER
            case Standing.FOLLOWER, True:
                return Turn.CLIENT
            case _:
                return Turn.LEADERS_CLIENT


@dataclass(frozen=True, slots=True)
class Unit:
    """A systemd unit that is enabled and active, and was started with the configuration that is on disk.

    A change of a path in `restart_on` restarts it, a change of one in `reload_on` reloads it; a directory stands
    for all that is in it, and the unit's own file and drop-ins count by themselves. Each path must be a resource
    that comes before the unit. What a unit was started with is kept as a stamp in /run (see
    nodeside/agent/stamps.py), so a change whose restart never happened is found again. `active=False` means
    disabled and stopped. A oneshot needs RemainAfterExit, else it is never found active.
    """

    name: str
    restart_on: tuple[str, ...] = ()
    reload_on: tuple[str, ...] = ()
    rolling: Rolling | None = None
    active: bool = True

    @property
    def target(self) -> Target:
        return Target(Kind.UNIT, self.name)


@dataclass(frozen=True, slots=True)
class Object:
    """State inside a running program: a role in a database, a login, a dynamic setting.

    `name` is what it is known by, to people and to other objects' `follows`; it is unique on its node.

    `probe` is asked; `differs(answer)` is None when all is well, else the reason for the change; `change` are
    the requests that make it so, in order. `needs` are further questions to other nodes which `permit` judges
    before the change: it returns None to go on, else why the change must not happen. Then apply stops there; an
    `optional` object is left as it is instead, and the component's gate judges.
    With `on`, the object belongs to no single node: the first reachable one of `on` carries it out. With `here`
    as well, it is held by the one whose answer `here` recognises, such as the primary: that one carries it out,
    whoever it is by then. While nobody holds it `apply` waits, `settle` seconds at most, and `differs` must give
    a reason for any answer. `follows` names objects and paths of components before this one: when one of them
    changes, this object may come to differ, so it is planned too; as with every object, `apply` asks again and
    leaves it alone if all is well.
    """

    name: str
    probe: Request
    differs: Callable[[Answer], str | None]
    change: tuple[Request, ...]
    needs: tuple[tuple[str, Request], ...] = ()
    permit: Callable[[dict[str, Answer]], str | None] | None = None
    optional: bool = False
    on: tuple[str, ...] = ()
    here: Callable[[Answer], bool] | None = None
    rolling: Rolling | None = None
    follows: tuple[str, ...] = ()
    settle: float = 30.0  # seconds within which `differs` must be None after the change

    @property
    def target(self) -> Target:
        return Target(Kind.OBJECT, self.name, text=self.name)

    def holder(self, answers: Mapping[str, Answer]) -> str:
        """The one of `on` that holds the object, by the answers to `probe`; "" where none does, or not one alone."""
        holders = [name for name in self.on if self.here and name in answers and self.here(answers[name])]
        return holders[0] if len(holders) == 1 else ""


Resource = File | Directory | Absent | Program | Unit | Object
