"""A component's additions to the snapshot of the platform, and how `status` shows them: as a table or as notes.

Values are read from the answers to the components' questions. An unknown value is null or an empty string, never a
guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from tercet.components.context import Context
from tercet.converge.component import Readings

if TYPE_CHECKING:
    from rich.text import Text

    from tercet.tables import Cell

CLUSTERS = ("CLUSTER", "LEADER", "MEMBERS")
"""The heads of the table of all clusters that elect a leader."""


class StatusModel(BaseModel):
    """`status --json` has these models, and docs/status.schema.json is their schema."""

    model_config = ConfigDict(frozen=True)


K = TypeVar("K", bound=StatusModel)


@dataclass(frozen=True)
class Table(Generic[K]):
    """A table of `status`. Rows with the same heads are in one table, even if they come from several components."""

    keys: type[K]
    """Its fields are keys of the snapshot, which always has them."""
    read: Callable[[Context, Readings], K]
    heads: tuple[str, ...]
    rows: Callable[[K], Iterable[Sequence[Cell]]]
    place: int = 1
    """Tables with a lower place come first. Tables with the same place are in the order of their components."""


@dataclass(frozen=True)
class Notes(Generic[K]):
    """Lines of `status` below all tables."""

    keys: type[K]
    """Its fields are keys of the snapshot. Each has a default, which means that there is nothing to note."""
    read: Callable[[Context, Readings, datetime], K]
    lines: Callable[[K], Iterable[Text]]


Part = Table[Any] | Notes[Any]
