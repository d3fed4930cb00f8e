"""The users of the system that programs of the platform run as, so that a program can use no other program's files."""

from __future__ import annotations

from dataclasses import dataclass

from tercet.inventory.platform import Role


@dataclass(frozen=True, slots=True)
class Account:
    """A user on the nodes of `roles`, with a group of the same name. Nobody can log in as this user. Without a `uid`,
    each node takes one of those that it keeps for its system.
    """

    name: str
    roles: tuple[Role, ...]
    uid: int | None = None
