"""A kind of fault as somebody may add it: the node's processors are busy with something else."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tercet.drills.scenario.actions import Fault, scripted
from tercet.drills.scenario.drawn import DATABASES, Drawn, one_of
from tercet.drills.scenario.fault import Facts, FaultModel, register
from tercet.drills.scenario.shapes import Node
from tercet.drills.scenario.targets import View, nodes_of


@register
class Busy(FaultModel):
    """`share` percent of a processor of this node are taken."""

    kind: ClassVar = "busy"
    place: ClassVar = 1000
    drawn: ClassVar = Drawn(5, 9, one_of(DATABASES), {"share": one_of((50, 200))})

    busy: Annotated[Node, Field(examples=["a standby"])]
    share: Annotated[int, Field(ge=10, le=800, examples=["150"])] = 100

    @property
    def amount(self) -> str:
        return f"{self.share} %"

    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        (node,) = nodes_of(self.busy, view)
        unit = f"tercet-busy-{number}"
        quota = f"--property=CPUQuota={self.share}%"
        make = f"systemd-run --quiet --collect --unit={unit} {quota} sh -c 'while :; do :; done'"
        heal = f"systemctl stop {unit}"
        return scripted(f"{node} busy by {self.share} %", node, (make, heal), self.lasts, number)
