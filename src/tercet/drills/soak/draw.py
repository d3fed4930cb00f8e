"""Draws the faults of a round from the seed and the round's number alone. Pure.

Invariant: the same seed, number, kinds, processes and shape of the platform give the same faults, on every machine and
whichever node is primary, because targets are roles ("the primary"), not names. So a round can be run again. A
component that declares another process (`inventory/components.py`) changes what seeds draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from tercet.drills.scenario.fault import FaultModel, Hits, kinds
from tercet.drills.scenario.model import fault_of
from tercet.drills.scenario.targets import View, nodes_of, process_of, site_of
from tercet.inventory.platform import Platform, Role

TWO_AT_ONCE = 0.4
"""The share of rounds with two faults."""
APART_S = 5
"""The second of two faults comes up to this many seconds after the first."""

LINKS = (Hits.CUTS, Hits.LINES)


def draw(seed: int, number: int, wanted: Sequence[str], platform: Platform) -> tuple[FaultModel, ...]:
    """The one or two faults of a round, of these kinds. The order of `kinds` has no effect."""
    random = Random(f"{seed}/{number}")  # noqa: S311 - to be repeated, not to be secret
    models = [model for kind, model in kinds().items() if kind in wanted]
    first = _fault(random, random.choice(models), 0.0)
    if random.random() >= TWO_AT_ONCE:
        return (first,)
    for _ in range(100):
        second = _fault(random, random.choice(models), float(random.randint(0, APART_S)))
        if compatible(first, second, platform):
            return (first, second)
    return (first,)  # no two of these kinds can be combined


def _fault(random: Random, model: type[FaultModel], at: float) -> FaultModel:
    drawn = model.drawn
    lasts, target = random.randint(drawn.shortest, drawn.longest), drawn.target(random)
    more = {key: pick(random) for key, pick in drawn.more.items()}
    return fault_of(at=at, lasts=lasts, **{model.kind: target}, **more)


def compatible(one: FaultModel, other: FaultModel, platform: Platform) -> bool:
    """Whether each fault can be made and ended while the other lasts.

    Two faults on one node cannot: nothing can be done inside a node that is dead or frozen. Neither can two cuts,
    because the end of one joins what the other cut, nor two weak links of the same site. A switchover needs a complete
    platform when it begins, so it is not made after another fault.
    """
    if other.hits is Hits.NOTHING or (one.hits is other.hits is Hits.CUTS):
        return False
    if one.hits is other.hits is Hits.LINES:
        return one.targets != other.targets
    return one.hits in LINKS or other.hits in LINKS or not set(_nodes(one, platform)) & set(_nodes(other, platform))


def view_for(platform: Platform) -> View:
    """A platform with any node in each role: which nodes two targets have in common does not depend on the choice."""
    databases = [node.name for node in platform.of(Role.DB)]
    return View(platform, databases[0], tuple(databases[1:3]), "")


def _nodes(fault: FaultModel, platform: Platform) -> Iterator[str]:
    """The nodes on which a fault is made that is not a fault of links."""
    view = view_for(platform)
    for target in fault.targets:
        if " on " in target:
            yield process_of(target, view)[1]
        elif fault.hits is Hits.NOTHING:
            yield platform.at(site_of(target, view), Role.DB).name
        elif fault.hits is Hits.NODES:
            yield from nodes_of(target, view)


def sites_of(fault: FaultModel, platform: Platform) -> frozenset[str]:
    """The sites that may lose their database or their vote in `dcs` while the fault lasts."""
    if fault.hits in LINKS:
        view = view_for(platform)
        return frozenset(site_of(target, view) for target in fault.targets)
    if fault.hits is Hits.NOTHING:
        return frozenset()
    hit = (platform.node(node) for node in _nodes(fault, platform))
    return frozenset(node.site for node in hit if node.role in (Role.CONTROL, Role.DB))


def describe(fault: FaultModel) -> str:
    """One fault in a few words: "loss 15 % site of a standby 12 s"."""
    later = f"after {fault.at:g} s" if fault.at else ""
    words = (fault.kind, fault.amount, " and ".join(fault.targets), f"{fault.lasts:g} s", later)
    return " ".join(word for word in words if word)
