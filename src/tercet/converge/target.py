"""What a change does, and to what: values that the engine and the providers act on.

People read their text in plans and messages. Nothing parses that text.
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
    """Announced by `Provider.destroy_plan` alone: it stays."""


class Kind(StrEnum):
    """What the engine itself knows of. A provider's own kinds are in an enum of its own."""

    IMAGE = "image"
    CONTAINER = "container"
    FILE = "file"
    DIRECTORY = "directory"
    PROGRAM = "program"
    UNIT = "unit"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class Target:
    """What a change is made to. `kind` is a Kind, or a member of the provider's enum; `name` is unique among its kind.

    `text` is what people read where that is not the kind and the name.
    """

    kind: StrEnum
    name: str
    text: str = ""

    def __str__(self) -> str:
        return self.text or f"{self.kind} {self.name}"
