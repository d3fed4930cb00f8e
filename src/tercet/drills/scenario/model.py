"""A drill's scenario: what goes wrong, for how long, and what must hold nevertheless. Data alone.

Built-in scenarios are the files of built_in/; a file of one's own has the same form (docs/drills.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from tercet.drills.expect import ExpectModel
from tercet.drills.scenario.mechanism import Mechanism
from tercet.drills.scenario.targets import EXPECTED, Shape, is_target
from tercet.inventory.base import Model
from tercet.inventory.shapes import Hostname, Seconds
from tercet.providers.base import CUT, CUT_ONE_WAY, FREEZE, KILL, LATENCY, LOSS, SLOW_DISK

OWN_DISK = "own-disk"  # the database nodes' data lies on a file system of its own, which may be filled


def _target(shape: Shape) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not is_target(text, shape):
            raise PydanticCustomError("shape", "expected {expected}", {"expected": EXPECTED[shape]})
        return text

    return check


def _moment(value: object) -> object:
    """A duration, as everywhere else, or a plain number of seconds, which may be 0."""
    if not isinstance(value, str):
        return value
    try:
        return _DURATION.validate_python(value)
    except ValidationError:
        expected = "seconds after the warm-up, such as 0, 2.5, 500ms or 10s"
        raise PydanticCustomError("shape", "expected {expected}", {"expected": expected}) from None


_DURATION = TypeAdapter[float](Seconds)
Site = Annotated[str, AfterValidator(_target("site"))]
Machines = Annotated[str, AfterValidator(_target("machines"))]
Process = Annotated[str, AfterValidator(_target("process"))]
Node = Annotated[str, AfterValidator(_target("node"))]

Kind = Literal[
    "kill",
    "freeze",
    "cut_off",
    "cut",
    "cut_one_way",
    "flap",
    "loss",
    "latency",
    "crash",
    "terminate",
    "hang",
    "hang_loop",
    "hold_down",
    "fill_disk",
    "slow_disk",
    "switchover",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
NEEDS: dict[Kind, str] = {
    "kill": KILL,
    "freeze": FREEZE,
    "cut_off": CUT,
    "cut": CUT,
    "cut_one_way": CUT_ONE_WAY,
    "flap": CUT,
    "loss": LOSS,
    "latency": LATENCY,
    "fill_disk": OWN_DISK,
    "slow_disk": SLOW_DISK,
}
_MODIFIES: dict[str, Kind] = {"percent": "loss", "to": "latency", "every": "flap"}
"""Keys that say more about one kind of fault, and belong to no other."""


class FaultModel(Model):
    """One thing that goes wrong: exactly one of the kinds, and when."""

    kill: Machines | None = None
    """Power cut: a site, a node, `every standby` or `every site` vanishes at once."""
    freeze: Machines | None = None
    """Every process of these nodes stops where it stands; their kernel still answers."""
    cut_off: Site | None = None
    """The site loses every link, to the other sites and to the outside world."""
    cut: tuple[Site, Site] | None = None
    """The link between two sites is gone, both ways."""
    cut_one_way: tuple[Site, Site] | None = None
    """Nothing from the first site reaches the second any more; the way back works."""
    flap: Site | tuple[Site, Site] | None = None
    """A site, or the link between two sites, is cut and joined again, `every` so many seconds."""
    loss: Site | None = None
    """`percent` of all packets from and to this site are lost on its links."""
    latency: Site | None = None
    """Packets from and to this site take at least as long as `to` says, each way."""
    crash: Process | None = None
    """A process is killed with SIGKILL; its supervisor does what it does."""
    terminate: Process | None = None
    """A process is asked to end with SIGTERM, by someone who is not its supervisor."""
    hang: Process | None = None
    """A process is stopped with SIGSTOP: it exists and says nothing."""
    hang_loop: Node | None = None
    """The loop of this database node's Patroni is stopped; its REST API goes on answering."""
    hold_down: Process | None = None
    """A process is killed with SIGKILL and kept from being started again."""
    fill_disk: Node | None = None
    """The file system of the node's database is filled to the last byte."""
    slow_disk: Node | None = None
    """The node's database gets only a few reads and writes a second from its disk."""
    switchover: Site | None = None
    """No fault: the primary moves to this site by plan."""

    at: Annotated[float, Field(ge=0, le=300), BeforeValidator(_moment)] = 0.0
    """Seconds after the warm-up."""
    lasts: Seconds = 20.0
    """Seconds until it is healed."""
    percent: Annotated[int, Field(ge=5, le=30)] = 15
    """Of packets that `loss` loses, one in so many hundredths, independently of one another."""
    to: Annotated[Seconds, Field(ge=0.02, le=1)] = 0.15
    """What `latency` makes a packet take, one way."""
    every: Annotated[Seconds, Field(ge=1, le=10)] = 2.0
    """For how long `flap` cuts, and then joins, in turn."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "shape",
                "expected {expected}",
                {
                    "expected": f"exactly one of {', '.join(KINDS)} in a fault, "
                    f"not {' and '.join(given) if given else 'none'}"
                },
            )
        if len(set(self.targets)) < len(self.targets):
            expected = f"two different sites, not {self.targets[0]} twice"
            raise PydanticCustomError("shape", "expected {expected}", {"expected": expected})
        for key, kind in _MODIFIES.items():
            if key in self.model_fields_set and kind != self.kind:
                expected = f"{key} with {kind} alone, not with {self.kind}"
                raise PydanticCustomError("shape", "expected {expected}", {"expected": expected})
        if self.lasts > 300:
            raise PydanticCustomError("shape", "expected {expected}", {"expected": "a fault that lasts at most 300 s"})
        return self

    @property
    def kind(self) -> Kind:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def targets(self) -> tuple[str, ...]:
        value = getattr(self, self.kind)
        return value if isinstance(value, tuple) else (value,)

    @property
    def spells(self) -> tuple[tuple[float, float], ...]:
        """When the fault is made and when it is healed: once, or in turn where it flaps. Seconds after the warm-up."""
        end = self.at + self.lasts
        if self.kind != "flap":
            return ((self.at, end),)
        starts = [self.at + 2 * self.every * turn for turn in range(math.ceil(self.lasts / (2 * self.every)))]
        return tuple((start, min(start + self.every, end)) for start in starts)


class LoadModel(Model):
    """What each site's applications do meanwhile, per second."""

    writes: Annotated[float, Field(ge=1, le=200)] = 10.0
    reads: Annotated[float, Field(ge=1, le=200)] = 20.0
    transactions: Annotated[float, Field(ge=0, le=200)] = 5.0
    deadline: Seconds = 1.0
    """After this long a client gives up a statement."""


class Scenario(Model):
    """A scenario. Lost acknowledged writes must be 0 in every one: that is not for a scenario to say."""

    name: Hostname
    title: str
    """One line: what happens."""
    promise: str
    """What the specification says must come out."""
    faults: Annotated[tuple[FaultModel, ...], Field(min_length=1, max_length=8)]
    mechanism: Mechanism = Mechanism.NONE
    """Which chain of links the predictor computes."""
    load: LoadModel = LoadModel()
    warm_up: Seconds = 5.0
    """Seconds of load before the first fault."""
    observe: Seconds = 5.0
    """Seconds of load after everything is healed and the platform healthy again."""
    expect: ExpectModel = ExpectModel()

    @property
    def needs(self) -> frozenset[str]:
        """The capabilities that the provider must have."""
        return frozenset(NEEDS[fault.kind] for fault in self.faults if fault.kind in NEEDS)

    @property
    def seconds(self) -> float:
        """How long the load runs, without waiting for the platform's health."""
        return self.warm_up + max(fault.at + fault.lasts for fault in self.faults) + self.observe
