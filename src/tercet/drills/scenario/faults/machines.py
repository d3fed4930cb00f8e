"""Whole nodes: their power is cut, or they freeze."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tercet.drills.scenario.actions import GRACE_S, Fault, FromOutside, from_outside
from tercet.drills.scenario.drawn import NODES, Drawn, one_of
from tercet.drills.scenario.fault import Facts, FaultModel, register
from tercet.drills.scenario.shapes import Machines
from tercet.drills.scenario.targets import View, nodes_of
from tercet.inventory.platform import Role
from tercet.inventory.providers import Capability
from tercet.providers.base import Faults

DRAWN = one_of((*NODES, "every standby"))


@register
class Kill(FaultModel):
    """Power cut: a site, a node, `every standby` or `every site` vanishes at once."""

    kind: ClassVar = "kill"
    place: ClassVar = 1
    needs: ClassVar = Capability.KILL
    drawn: ClassVar = Drawn(5, 12, DRAWN)

    kill: Annotated[Machines, Field(examples=["site of the primary"])]

    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        nodes = nodes_of(self.kill, view)
        inject = from_outside(Faults.kill, nodes, seconds=self.lasts + GRACE_S)
        return _hit(nodes, view, "killed", inject, from_outside(Faults.start, nodes))


@register
class Freeze(FaultModel):
    """Every process of these nodes is frozen; their kernel still answers."""

    kind: ClassVar = "freeze"
    place: ClassVar = 2
    needs: ClassVar = Capability.FREEZE
    drawn: ClassVar = Drawn(3, 15, DRAWN)

    freeze: Annotated[Machines, Field(examples=["the primary"])]

    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        nodes = nodes_of(self.freeze, view)
        inject = from_outside(Faults.freeze, nodes, seconds=self.lasts + GRACE_S)
        return _hit(nodes, view, "frozen", inject, from_outside(Faults.thaw, nodes))


def _hit(nodes: tuple[str, ...], view: View, done: str, inject: FromOutside, heal: FromOutside) -> Fault:
    sites = frozenset(view.platform.node(name).site for name in nodes if view.platform.node(name).role is Role.APPS)
    whole = {site for site in sites if len([n for n in nodes if view.platform.node(n).site == site]) > 1}
    subject = f"site {', '.join(sorted(whole))}" if whole else ", ".join(nodes)
    return Fault(f"{subject} {done}", nodes, (inject,), (heal,), sites=sites, roaming=sites)
