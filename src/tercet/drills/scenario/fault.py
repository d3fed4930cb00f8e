"""What every kind of fault tells of itself, and which kinds there are. To add one, add a file to faults/.

Its class is registered by the decorator `register`. All that tercet knows of the kind is in that class: its key word in
a scenario and its other keys, how the fault is made and healed, and what a soak may draw of it.
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
    """What a fault is made on. Whether two faults can be made at once depends on it (soak/draw.py)."""

    NODES = auto()  # nodes, or what runs on them
    CUTS = auto()  # links between sites, which are gone
    LINES = auto()  # all links of a site, which get worse
    NOTHING = auto()  # it is no fault, but done by plan


@dataclass(frozen=True, slots=True)
class Facts:
    """What a fault must know of the platform besides the view: which proxy runs and the cluster's name."""

    proxy: str  # "pgcat"
    cluster: str  # Patroni's scope


class FaultModel(Model):
    """One thing that goes wrong, and when. Each kind is a subclass that has a field of the kind's name.

    The field is the key word in a scenario: its type says which targets are accepted, its `examples` what errors show.
    """

    kind: ClassVar[str]
    place: ClassVar[int]
    """Where the kind stands among the others. What a seed of a soak draws depends on it, so it never changes."""
    needs: ClassVar[Capability | None] = None
    """What the provider must be able to do. None: the fault is made on the node itself."""
    asks: ClassVar[bool] = False
    """Whether it can be made is for the node to say: the fault has a `check`."""
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
        """When the fault is made and when it is healed, once or several times. Seconds after the warm-up."""
        return ((self.at, self.at + self.lasts),)

    @property
    def amount(self) -> str:
        """What a soak says of the fault besides its kind, its targets and its times: "15 %"."""
        return ""

    @property
    def hopeless(self) -> bool:
        """While it lasts, applications cannot be expected to get through."""
        return False

    @property
    def deafens(self) -> bool:
        """While it lasts, a site's proxy does not learn of a new primary."""
        return False

    @property
    def unsettles(self) -> bool:
        """While it lasts, the primary may come and go for applications, and no other node leads in its place."""
        return False

    @abstractmethod
    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        """The fault that these words mean on the platform as it stands; `number` is its place in the drill.

        Raises TargetError where the target does not exist.
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
    """All kinds of faults by key word, in the order of their places."""
    discover(FOLDER)
    return {model.kind: model for model in sorted(_KINDS.values(), key=lambda model: model.place)}
