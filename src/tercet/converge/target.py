"""The verb and the target of a change: values that the engine and the providers act on.

Plans and messages show their text. Nothing parses that text.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verb(StrEnum):
    """What a change does. A provider that needs another verb adds it here, and its place in cli/render.py."""

    BUILD = "build"
    UPLOAD = "upload"
    CREATE = "create"
    UPDATE = "update"
    GROW = "grow"
    REMOVE = "remove"
    CHANGE = "change"
    ENABLE = "enable"
    DISABLE = "disable"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    RELOAD = "reload"
    THAW = "thaw"
    JOIN = "join"
    """Undo a cut."""
    END = "end"
    """Undo another fault."""
    DESTROY = "destroy"
    KEEP = "keep"
    """Only in `Provider.destroy_plan`: the target is kept."""


class Kind(StrEnum):
    """The kinds of the engine. A provider has a separate enum for its own kinds."""

    IMAGE = "image"
    CONTAINER = "container"
    FILE = "file"
    DIRECTORY = "directory"
    PROGRAM = "program"
    UNIT = "unit"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class Target:
    """What a change is made to. `kind` is a Kind or a member of the provider's enum. `name` is unique within its kind.

    `text` is shown instead of kind and name, if it is given.
    """

    kind: StrEnum
    name: str
    text: str = ""

    def __str__(self) -> str:
        return self.text or f"{self.kind} {self.name}"
