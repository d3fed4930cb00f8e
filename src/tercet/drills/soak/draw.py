"""What goes wrong in a round: drawn from the seed and the round's number alone. Pure.

Invariant: the same seed, number, kinds and platform's shape give the same faults, on every machine, whoever is primary
by then: targets are roles ("the primary"), not names. So a round can be run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tercet.drills.scenario.model import KINDS, FaultModel, Kind
from tercet.drills.scenario.targets import View, nodes_of, process_of, site_of
from tercet.inventory.platform import Platform, Role

TWO_AT_ONCE = 0.4
"""The share of rounds with two faults."""
APART_S = 5
"""The second of two faults comes up to so many seconds after the first."""

SITES = ("site of the primary", "site of a standby", "site of the other standby")
DATABASES = ("the primary", "a standby", "the other standby")
CONTROLS = tuple(f"consul-nomad at {site}" for site in SITES)
APPS = tuple(f"apps at {site}" for site in SITES)
PROCESSES = (
    *(
        f"{process} on {node}"
        for process in ("postmaster", "patroni", "dcs", "consul", "tailscaled")
        for node in DATABASES
    ),
    *(f"{process} on {node}" for process in ("dcs", "consul", "nomad", "tailscaled") for node in CONTROLS),
    *(
        f"{process} on {node}"
        for process in ("proxy", "consul-template", "dcs", "consul", "nomad", "tailscaled")
        for node in APPS
    ),
)
NODES = (*SITES, *DATABASES, *CONTROLS, *APPS)

WHOLE_SITE: tuple[Kind, ...] = ("cut_off", "flap", "loss", "latency")
CUTS: tuple[Kind, ...] = ("cut_off", "cut", "cut_one_way", "flap")
LINKS: tuple[Kind, ...] = (*CUTS, "loss", "latency")


@dataclass(frozen=True, slots=True)
class Sort:
    """How a kind of fault is drawn: how long it lasts (seconds, from and to), and what else its keys say."""

    shortest: int
    longest: int
    keys: Callable[[Random], Mapping[str, Any]]


def _one_of(kind: Kind, targets: Sequence[str]) -> Callable[[Random], Mapping[str, Any]]:
    return lambda random: {kind: random.choice(targets)}


def _link(kind: Kind) -> Callable[[Random], Mapping[str, Any]]:
    return lambda random: {kind: tuple(random.sample(SITES, 2))}


def _flap(random: Random) -> Mapping[str, Any]:
    target = random.choice(SITES) if random.random() < 0.5 else tuple(random.sample(SITES, 2))
    return {"flap": target, "every": random.choice((1, 2, 3))}


SORTS: Mapping[Kind, Sort] = {
    "kill": Sort(5, 12, _one_of("kill", (*NODES, "every standby"))),
    "freeze": Sort(3, 15, _one_of("freeze", (*NODES, "every standby"))),
    "cut_off": Sort(3, 15, _one_of("cut_off", SITES)),
    "cut": Sort(3, 15, _link("cut")),
    "cut_one_way": Sort(3, 15, _link("cut_one_way")),
    "flap": Sort(6, 18, _flap),
    "loss": Sort(8, 18, lambda random: {"loss": random.choice(SITES), "percent": random.randint(5, 30)}),
    "latency": Sort(
        6, 15, lambda random: {"latency": random.choice(SITES), "to": random.choice((0.05, 0.1, 0.15, 0.3))}
    ),
    "crash": Sort(3, 8, _one_of("crash", PROCESSES)),
    "terminate": Sort(3, 8, _one_of("terminate", PROCESSES)),
    "hang": Sort(5, 15, _one_of("hang", PROCESSES)),
    "hang_loop": Sort(10, 20, _one_of("hang_loop", DATABASES)),  # longer than the watchdog waits
    "hold_down": Sort(5, 15, _one_of("hold_down", PROCESSES)),
    "fill_disk": Sort(8, 15, _one_of("fill_disk", DATABASES)),
    "slow_disk": Sort(8, 15, _one_of("slow_disk", DATABASES)),
    "switchover": Sort(8, 8, _one_of("switchover", SITES[1:])),
}


def draw(seed: int, number: int, kinds: Sequence[Kind], platform: Platform) -> tuple[FaultModel, ...]:
    """The one or two faults of a round. `kinds` in the order of KINDS, so that the order given does not matter."""
    random = Random(f"{seed}/{number}")  # noqa: S311 - to be repeated, not to be secret
    kinds = [kind for kind in KINDS if kind in kinds]
    first = _fault(random, random.choice(kinds), 0.0)
    if random.random() >= TWO_AT_ONCE:
        return (first,)
    for _ in range(100):
        second = _fault(random, random.choice(kinds), float(random.randint(0, APART_S)))
        if compatible(first, second, platform):
            return (first, second)
    return (first,)  # of these kinds no two go together


def _fault(random: Random, kind: Kind, at: float) -> FaultModel:
    sort = SORTS[kind]
    return FaultModel(at=at, lasts=random.randint(sort.shortest, sort.longest), **sort.keys(random))


def compatible(one: FaultModel, other: FaultModel, platform: Platform) -> bool:
    """Each can be made and ended while the other lasts.

    Two on one node cannot: nothing can be done inside a node that is dead or frozen. Neither can two cuts, since the
    end of one joins what the other cut, nor two of the same site's weak links. A switchover asks for a platform that
    is whole when it begins, so it is not made after another fault.
    """
    kinds = {one.kind, other.kind}
    if kinds <= set(CUTS) or (kinds == {"switchover"}) or (other.kind == "switchover"):
        return False
    if kinds <= {"loss", "latency"}:
        return one.targets != other.targets
    return kinds & set(LINKS) != set() or not set(_nodes(one, platform)) & set(_nodes(other, platform))


def view_for(platform: Platform) -> View:
    """Somebody in each role: which nodes two targets have in common does not depend on who it is."""
    databases = [node.name for node in platform.of(Role.DB)]
    return View(platform, databases[0], tuple(databases[1:3]), "")


def _nodes(fault: FaultModel, platform: Platform) -> Iterator[str]:
    """The nodes that a fault which is no link's is made on."""
    view = view_for(platform)
    for target in fault.targets:
        if " on " in target:
            yield process_of(target, view)[1]
        elif fault.kind == "switchover":
            yield platform.at(site_of(target, view), Role.DB).name
        elif fault.kind not in LINKS:
            yield from nodes_of(target, view)


def sites_of(fault: FaultModel, platform: Platform) -> frozenset[str]:
    """The sites whose database or whose vote in `dcs` cannot be counted on while the fault lasts."""
    if fault.kind in LINKS:
        view = view_for(platform)
        return frozenset(site_of(target, view) for target in fault.targets)
    if fault.kind == "switchover":
        return frozenset()
    hit = (platform.node(node) for node in _nodes(fault, platform))
    return frozenset(node.site for node in hit if node.role in (Role.CONTROL, Role.DB))


def describe(fault: FaultModel) -> str:
    """One fault in a few words: "loss 15 % site of a standby, 12 s"."""
    target = " and ".join(fault.targets)
    more = {
        "loss": f"{fault.percent} % ",
        "latency": f"{fault.to * 1000:g} ms ",
        "flap": f"{fault.every:g} s ",
    }.get(fault.kind, "")
    later = f" after {fault.at:g} s" if fault.at else ""
    return f"{fault.kind} {more}{target} {fault.lasts:g} s{later}"
