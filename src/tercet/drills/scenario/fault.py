"""The base class of the kinds of fault, and their registry. To add a kind, add a file to faults/.

The decorator `register` registers its class. The class contains everything about the kind: its keyword in a scenario
and its other keys, how the fault is made and healed, and how a soak draws it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar, Self, TypeVar

from pydantic import model_validator

from tercet.drills.discovery import discover
from tercet.drills.scenario.actions import Fault
from tercet.drills.scenario.drawn import Drawn
from tercet.drills.scenario.shapes import Moment, expected
from tercet.drills.scenario.targets import View
from tercet.inventory.base import Model
from tercet.inventory.providers import Capability
from tercet.inventory.shapes import Seconds

FOLDER = "tercet.drills.scenario.faults"
LONGEST_S = 300


class Hits(Enum):
    """What a fault affects. This decides whether two faults can be made at once (soak/draw.py)."""

    NODES = auto()  # nodes, or processes on them
    CUTS = auto()  # links between sites, which are cut
    LINES = auto()  # all links of a site, which get worse
    NOTHING = auto()  # a planned operation, not a fault


@dataclass(frozen=True, slots=True)
class Facts:
    """What a fault must know about the platform in addition to the view: which proxy runs and the cluster's name."""

    proxy: str  # "pgcat"
    cluster: str  # Patroni's scope


class FaultModel(Model):
    """One fault, and when it happens. Each kind is a subclass with a field that has the name of the kind.

    The field is the keyword in a scenario. Its type says which targets are accepted; errors show its `examples`.
    """

    kind: ClassVar[str]
    place: ClassVar[int]
    """The kind's place in the order of kinds. The faults that a soak draws from a seed depend on it: never
    change it.
    """
    needs: ClassVar[Capability | None] = None
    """The capability that the provider must have. None: the fault is made on the node itself."""
    asks: ClassVar[bool] = False
    """Whether the node must be asked if the fault can be made: the fault then has a `check`."""
    hits: ClassVar[Hits] = Hits.NODES
    drawn: ClassVar[Drawn]

    at: Moment = 0.0
    """Seconds after the warm-up."""
    lasts: Seconds = 20.0
    """Seconds until it is healed."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(set(self.targets)) < len(self.targets):
            raise expected(f"two different sites, not {self.targets[0]} twice")
        if self.lasts > LONGEST_S:
            raise expected(f"a fault that lasts at most {LONGEST_S} s")
        return self

    @property
    def targets(self) -> tuple[str, ...]:
        value = getattr(self, self.kind)
        return value if isinstance(value, tuple) else (value,)

    @property
    def spells(self) -> tuple[tuple[float, float], ...]:
        """The times when the fault is made and when it is healed, once or several times. Seconds after the warm-up."""
        return ((self.at, self.at + self.lasts),)

    @property
    def amount(self) -> str:
        """Details that a soak prints after the kind, such as "15 %"."""
        return ""

    @property
    def hopeless(self) -> bool:
        """Whether applications are not expected to get through while it lasts."""
        return False

    @property
    def deafens(self) -> bool:
        """Whether a site's proxy cannot learn of a new primary while it lasts."""
        return False

    @abstractmethod
    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        """The actions of the fault on the present platform. `number` is its place in the drill.

        Raises TargetError if the target does not exist.
        """


Class = TypeVar("Class", bound=type[FaultModel])
_KINDS: dict[str, type[FaultModel]] = {}


def register(model: Class) -> Class:
    """Make the decorated class a kind of fault."""
    for other in _KINDS.values():
        if other.kind == model.kind or other.place == model.place:
            raise ValueError(f"{model.kind} at place {model.place}: there is {other.kind} at place {other.place}")
    _KINDS[model.kind] = model
    return model


def kinds() -> Mapping[str, type[FaultModel]]:
    """All kinds of fault by keyword, in the order of their places."""
    discover(FOLDER)
    return {model.kind: model for model in sorted(_KINDS.values(), key=lambda model: model.place)}
