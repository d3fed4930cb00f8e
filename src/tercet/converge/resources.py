"""The desired state of a node, as values. The planner compares them with what the node reports.

A component yields these from `desired`; the same inventory yields the same values, byte for byte. `target` identifies a
resource in plans and messages.
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
    """A directory. With `purge`, everything in it that is not desired is removed (for conf.d directories)."""

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
    """A file that must not exist, such as one that another choice of proxy left behind."""

    path: str

    @property
    def target(self) -> Target:
        return Target(Kind.FILE, self.path)


@dataclass(frozen=True, slots=True)
class Program:
    """A component's binary at /opt/tercet/programs/NAME/SHA256/NAME with a link /usr/local/bin/NAME to it.

    It is in the image. A node whose link differs gets it from `source` (a file on the operator's machine). The path
    contains the sha256, so the plan need not hash a hundred megabytes.
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
    """The present state of a member of a group, as the member reports it."""

    DOWN = "down"
    """It certainly does not serve. Its restart disturbs no other member, so it is repaired first, without waiting."""
    FOLLOWER = "follower"
    LEADER = "leader"
    """A Raft's leader, or the primary."""


class Turn(IntEnum):
    """The order in which running members are disturbed: servers before clients, followers before leaders.

    Servers come first because a new server understands an old client, but an old server may not understand a new
    client. Leaders come last because each restart of a leader causes an election.
    """

    NOBODY = 0  # no member that serves is disturbed
    SERVER = 1
    LEADING_SERVER = 2
    CLIENT = 3
    LEADERS_CLIENT = 4


@dataclass(frozen=True, slots=True)
class Rolling:
    """Running members of `group` are disturbed one at a time, in the order of Turn, for any reason. After each of them,
    the component's conditions must hold again.

    Before that, `question` is sent to each member, and `standing` reads the answer. A `client` needs the servers of its
    component; the client on the leader's own node is the last one.

    Members usually need each other, like those of a quorum: while one of them cannot be reached, no other one is
    disturbed. This does not apply if each member works `alone`.
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

    A change of a path in `restart_on` restarts it, and a change of a path in `reload_on` reloads it. A directory stands
    for everything in it. The unit's own file and drop-ins are always included. Each path must be a resource that comes
    before the unit. The node records in /run what a unit was started with (see nodeside/agent/stamps.py), so a change
    without a restart is found again. `active=False` means disabled and stopped. A oneshot needs RemainAfterExit,
    otherwise it is never found active.
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

    `name` identifies it to people and in other objects' `follows`; it is unique on its node.

    `probe` is the question. `differs(answer)` is None if the state is right, otherwise the reason for the change.
    `change` has the requests that make the change, in order. `needs` are further questions to other nodes, which
    `permit` judges before the change: it returns None to continue, or the reason why the change must not happen. In
    that case `apply` stops; an `optional` object is left as it is instead, and the component's gate judges.

    With `on`, the object does not belong to a single node: the first reachable node of `on` makes the change. With
    `here` as well, the object is held by the node whose answer `here` recognises, such as the primary, and the node
    that holds it at that time makes the change. While no node holds it, `apply` waits for at most `settle` seconds, and
    `differs` must give a reason for any answer. `follows` names objects and paths of earlier components. If one of them
    changes, this object may differ afterwards, so it is planned, too. As with every object, `apply` asks again and does
    not change it if its state is right.
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
        """The node of `on` that holds the object according to the answers to `probe`; "" if there is not
        exactly one.
        """
        holders = [name for name in self.on if self.here and name in answers and self.here(answers[name])]
        return holders[0] if len(holders) == 1 else ""


Resource = File | Directory | Absent | Program | Unit | Object
