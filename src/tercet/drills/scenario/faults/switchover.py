"""Not a fault, but a planned operation among faults: the primary moves."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tercet.components.patroni import component as patroni
from tercet.drills.scenario.actions import Fault, OnNode
from tercet.drills.scenario.drawn import SITES, Drawn, one_of
from tercet.drills.scenario.fault import Facts, FaultModel, Hits, register
from tercet.drills.scenario.shapes import Site
from tercet.drills.scenario.targets import View, site_of
from tercet.errors import TercetError
from tercet.inventory.platform import Role


@register
class Switchover(FaultModel):
    """Not a fault: the primary moves to this site as planned."""

    kind: ClassVar = "switchover"
    place: ClassVar = 16
    hits: ClassVar = Hits.NOTHING
    drawn: ClassVar = Drawn(8, 8, one_of(SITES[1:]))

    switchover: Annotated[Site, Field(examples=["site of a standby"])]

    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        site = site_of(self.switchover, view)
        candidate = view.platform.at(site, Role.DB).name
        if candidate == view.primary:
            raise TercetError(f"expected a switchover to another site, found that the primary is at {site} already")
        request = OnNode(candidate, patroni.hand_over(facts.cluster, view.primary, candidate))
        return Fault(f"switchover from {view.primary} to {candidate}", (), (request,), ())
