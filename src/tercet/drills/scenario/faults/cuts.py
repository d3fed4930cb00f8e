"""Links between sites that are cut for a while, in one direction only, or repeatedly."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from tercet.drills.scenario.actions import GRACE_S, Fault, from_outside
from tercet.drills.scenario.drawn import SITES, Drawn, one_of, two_sites
from tercet.drills.scenario.fault import Facts, FaultModel, Hits, register
from tercet.drills.scenario.shapes import Site
from tercet.drills.scenario.targets import View, site_of
from tercet.errors import TercetError
from tercet.inventory.providers import Capability
from tercet.inventory.shapes import Seconds
from tercet.providers.base import Faults

TWO_SITES = "[site of the primary, site of a standby]"


@register
class CutOff(FaultModel):
    """The site loses every link, to the other sites and to the outside world."""

    kind: ClassVar = "cut_off"
    place: ClassVar = 3
    needs: ClassVar = Capability.CUT
    hits: ClassVar = Hits.CUTS
    drawn: ClassVar = Drawn(3, 15, one_of(SITES))

    cut_off: Annotated[Site, Field(examples=["site of the primary"])]

    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        return _site(self, view)


@register
class Cut(FaultModel):
    """The link between two sites is cut in both directions."""

    kind: ClassVar = "cut"
    place: ClassVar = 4
    needs: ClassVar = Capability.CUT
    hits: ClassVar = Hits.CUTS
    drawn: ClassVar = Drawn(3, 15, two_sites)

    cut: Annotated[tuple[Site, Site], Field(examples=[TWO_SITES])]

    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        return _link(self, view, both=True)


@register
class CutOneWay(FaultModel):
    """Nothing from the first site reaches the second; the other direction works."""

    kind: ClassVar = "cut_one_way"
    place: ClassVar = 5
    needs: ClassVar = Capability.CUT_ONE_WAY
    hits: ClassVar = Hits.CUTS
    drawn: ClassVar = Drawn(3, 15, two_sites)

    cut_one_way: Annotated[tuple[Site, Site], Field(examples=[TWO_SITES])]

    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        return _link(self, view, both=False)


@register
class Flap(FaultModel):
    """A site, or the link between two sites, is cut and joined in turn, for `every` seconds each."""

    kind: ClassVar = "flap"
    place: ClassVar = 6
    needs: ClassVar = Capability.CUT
    hits: ClassVar = Hits.CUTS
    drawn: ClassVar = Drawn(
        6,
        18,
        lambda random: random.choice(SITES) if random.random() < 0.5 else two_sites(random),
        {"every": one_of((1, 2, 3))},
    )

    flap: Annotated[Site | tuple[Site, Site], Field(examples=["site of a standby"])]
    every: Annotated[Seconds, Field(ge=1, le=10, examples=["2s"])] = 2.0
    """The seconds of each cut, and of each pause between cuts."""

    @property
    def spells(self) -> tuple[tuple[float, float], ...]:
        end = self.at + self.lasts
        starts = [self.at + 2 * self.every * turn for turn in range(math.ceil(self.lasts / (2 * self.every)))]
        return tuple((start, min(start + self.every, end)) for start in starts)

    @property
    def amount(self) -> str:
        return f"{self.every:g} s"

    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        """One of the cuts."""
        fault = _link(self, view, both=True) if len(self.targets) > 1 else _site(self, view)
        return replace(fault, title=f"{fault.title}, every {self.every:g} s")


def _site(model: FaultModel, view: View) -> Fault:
    """A site that is cut off."""
    site = site_of(model.targets[0], view)
    nodes = tuple(node.name for node in view.platform.nodes if node.site == site)
    return Fault(
        f"site {site} cut off",
        nodes,
        (from_outside(Faults.cut, site, None, seconds=model.lasts + GRACE_S),),
        (from_outside(Faults.join, site, None),),
        sites=frozenset({site}),
    )


def _link(model: FaultModel, view: View, *, both: bool) -> Fault:
    """A link between two sites that is cut."""
    source, target = (site_of(text, view) for text in model.targets)
    if source == target:
        raise TercetError(f"expected two sites to cut the link between, found {source} twice")
    seconds = model.lasts + GRACE_S
    return Fault(
        f"link {source} {'↔' if both else '→'} {target} cut",
        (),
        (from_outside(Faults.cut, source, target, both=both, seconds=seconds),),
        (from_outside(Faults.join, source, target, both=both),),
    )
