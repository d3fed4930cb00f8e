"""A database's disk is full."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from tercet.components.patroni import component as patroni
from tercet.datafile import text_of
from tercet.drills.scenario.actions import Fault, OnNode, scripted, shell
from tercet.drills.scenario.drawn import DATABASES, Drawn, one_of
from tercet.drills.scenario.fault import Facts, FaultModel, register
from tercet.drills.scenario.shapes import Node
from tercet.drills.scenario.targets import View, nodes_of

FILL = f"{patroni.DATA}/tercet-fill"
LARGEST_DISK_GIB = 64


@register
class FillDisk(FaultModel):
    """The file system of the node's database is filled completely."""

    kind: ClassVar = "fill_disk"
    place: ClassVar = 14
    asks: ClassVar = True
    drawn: ClassVar = Drawn(8, 15, one_of(DATABASES))

    fill_disk: Annotated[Node, Field(examples=["the primary"])]

    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        (node,) = nodes_of(self.fill_disk, view)
        check = text_of(__package__, "fill_disk-check.sh", DATA=patroni.DATA, LARGEST_GIB=LARGEST_DISK_GIB)
        make = text_of(__package__, "fill_disk.sh", DATA=patroni.DATA, FILL=FILL)
        heal = f"rm -f {FILL} {FILL}.rest && systemctl start --no-block {patroni.UNIT}"
        fault = scripted(f"disk of {node} full", node, (make, heal), self.lasts, number)
        return replace(fault, check=(OnNode(node, shell(check)),))
