"""A database's disk is slow."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tercet.drills.scenario.actions import GRACE_S, Fault, from_outside
from tercet.drills.scenario.drawn import DATABASES, Drawn, one_of
from tercet.drills.scenario.fault import Facts, FaultModel, register
from tercet.drills.scenario.shapes import Node
from tercet.drills.scenario.targets import View, nodes_of
from tercet.inventory.providers import Capability
from tercet.providers.base import Faults

SLOW_IOPS = 20
"""Writes per second of a slow disk; a normal disk does hundreds. A commit needs one or two."""


@register
class SlowDisk(FaultModel):
    """The node's database gets only a few reads and writes per second from its disk."""

    kind: ClassVar = "slow_disk"
    place: ClassVar = 15
    needs: ClassVar = Capability.SLOW_DISK
    drawn: ClassVar = Drawn(8, 15, one_of(DATABASES))

    slow_disk: Annotated[Node, Field(examples=["the primary"])]

    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        (node,) = nodes_of(self.slow_disk, view)
        inject = from_outside(Faults.slow_disk, node, iops=SLOW_IOPS, seconds=self.lasts + GRACE_S)
        return Fault(f"disk of {node} slow", (node,), (inject,), (from_outside(Faults.free_disk, node),))
