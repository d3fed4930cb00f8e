"""A database's disk is full."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from tercet.components.patroni import component as patroni
from tercet.drills.scenario.actions import Fault, OnNode, scripted, shell
from tercet.drills.scenario.drawn import DATABASES, Drawn, one_of
from tercet.drills.scenario.fault import OWN_DISK, Facts, FaultModel, register
from tercet.drills.scenario.shapes import Node
from tercet.drills.scenario.targets import View, nodes_of

FILL = f"{patroni.DATA}/tercet-fill"
LARGEST_DISK_GIB = 64


@register
class FillDisk(FaultModel):
    """The file system of the node's database is filled to the last byte."""

    kind: ClassVar = "fill_disk"
    place: ClassVar = 14
    needs: ClassVar = OWN_DISK
    drawn: ClassVar = Drawn(8, 15, one_of(DATABASES))

    fill_disk: Annotated[Node, Field(examples=["the primary"])]

    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        (node,) = nodes_of(self.fill_disk, view)
        check = (
            f"set -e; type=$(stat -f -c %T {patroni.DATA}); "
            f'case "$type" in overlayfs|tmpfs|ramfs) echo "its data lies on $type, which other nodes share; '
            'give it a file system of its own" >&2; exit 3;; esac; '
            f"size=$(df --output=size -BG {patroni.DATA} | tail -1 | tr -dc 0-9); "
            f'[ "$size" -le {LARGEST_DISK_GIB} ] || {{ echo "its data lies on a disk of $size GiB; at most '
            f'{LARGEST_DISK_GIB} GiB are filled" >&2; exit 3; }}'
        )
        # As PostgreSQL's own user: the share that file systems reserve for root stays free, as on a real full disk.
        make = (
            f"free=$(df --output=avail -B1 {patroni.DATA} | tail -1); "
            f'runuser -u postgres -- fallocate -l "$free" {FILL} || true; '
            f"runuser -u postgres -- dd if=/dev/zero of={FILL}.rest bs=64k status=none 2>/dev/null; true"
        )
        heal = f"rm -f {FILL} {FILL}.rest && systemctl start --no-block {patroni.UNIT}"
        fault = scripted(f"disk of {node} full", node, (make, heal), self.lasts, number)
        return replace(fault, check=(OnNode(node, shell(check)),))
