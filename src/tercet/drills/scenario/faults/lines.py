"""A site whose links lose or delay packets. Up to a limit, its applications must still get through."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tercet.drills.scenario.actions import GRACE_S, Fault, FromOutside, from_outside
from tercet.drills.scenario.drawn import SITES, Drawn, one_of
from tercet.drills.scenario.fault import Facts, FaultModel, Hits, register
from tercet.drills.scenario.shapes import Site
from tercet.drills.scenario.targets import View, site_of
from tercet.inventory.providers import Capability
from tercet.inventory.shapes import Seconds
from tercet.providers.base import Faults

WORST_LOSS = 15  # percent
WORST_DELAY_S = 0.15
"""On a worse link, an application's five round trips do not fit into its deadline."""


@register
class Loss(FaultModel):
    """`percent` of all packets from and to this site are lost on its links."""

    kind: ClassVar = "loss"
    place: ClassVar = 7
    needs: ClassVar = Capability.LOSS
    hits: ClassVar = Hits.LINES
    drawn: ClassVar = Drawn(8, 18, one_of(SITES), {"percent": lambda random: random.randint(5, 30)})

    loss: Annotated[Site, Field(examples=["site of a standby"])]
    percent: Annotated[int, Field(ge=5, le=30, examples=["15"])] = 15
    """The percentage of packets that are lost, independently of each other."""

    @property
    def amount(self) -> str:
        return f"{self.percent} %"

    @property
    def hopeless(self) -> bool:
        return self.percent > WORST_LOSS

    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        site = site_of(self.loss, view)
        inject = from_outside(Faults.lose, site, percent=self.percent, seconds=self.lasts + GRACE_S)
        return _weak(f"{self.percent} % of the packets of site {site} lost", site, view, inject)


@register
class Latency(FaultModel):
    """Packets from and to this site take at least `to` seconds in each direction."""

    kind: ClassVar = "latency"
    place: ClassVar = 8
    needs: ClassVar = Capability.LATENCY
    hits: ClassVar = Hits.LINES
    drawn: ClassVar = Drawn(6, 15, one_of(SITES), {"to": one_of((0.05, 0.1, 0.15, 0.3))})

    latency: Annotated[Site, Field(examples=["site of a standby"])]
    to: Annotated[Seconds, Field(ge=0.02, le=1, examples=["150ms"])] = 0.15
    """The delay of a packet in one direction."""

    @property
    def amount(self) -> str:
        return f"{self.to * 1000:g} ms"

    @property
    def hopeless(self) -> bool:
        return self.to > WORST_DELAY_S

    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        site = site_of(self.latency, view)
        inject = from_outside(Faults.delay, site, by=self.to, seconds=self.lasts + GRACE_S)
        return _weak(f"packets of site {site} delayed to {self.to * 1000:g} ms", site, view, inject)


def _weak(title: str, site: str, view: View, inject: FromOutside) -> Fault:
    nodes = tuple(node.name for node in view.platform.nodes if node.site == site)
    return Fault(title, nodes, (inject,), (from_outside(Faults.steady, site),))
