"""Patroni's loop hangs, but nothing else in Patroni."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import Annotated, ClassVar

from pydantic import Field

from tercet.components.patroni import component as patroni
from tercet.components.patroni.declaration import PatroniPorts
from tercet.drills.scenario.actions import GRACE_S, Fault, OnNode, scripted, shell
from tercet.drills.scenario.drawn import DATABASES, Drawn, one_of
from tercet.drills.scenario.fault import Facts, FaultModel, register
from tercet.drills.scenario.shapes import Node
from tercet.drills.scenario.targets import View, nodes_of
from tercet.errors import TercetError
from tercet.inventory.platform import Role


@register
class HangLoop(FaultModel):
    """The loop of this database node's Patroni is stopped; its REST API still answers."""

    kind: ClassVar = "hang_loop"
    place: ClassVar = 12
    drawn: ClassVar = Drawn(10, 20, one_of(DATABASES))  # longer than the watchdog waits

    hang_loop: Annotated[Node, Field(examples=["the primary"])]

    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        (node,) = nodes_of(self.hang_loop, view)
        if view.platform.node(node).role is not Role.DB:
            raise TercetError(f"expected a database node for hang_loop, found {node}; name one, such as: the primary")
        unit, program = f"tercet-hang-{number}", f"/run/tercet-hang-{number}.py"
        limit = self.lasts + GRACE_S
        make = (
            f"cat > {program} && pid=$(systemctl show --value --property=MainPID {patroni.UNIT}) && "
            f"systemd-run --quiet --collect --unit={unit} --property=RuntimeMaxSec={limit:g} "
            f"/usr/bin/python3 -I {program} $pid {node} {view.platform.settings.ports.of(PatroniPorts).patroni}"
        )
        heal = f"systemctl stop {unit} 2>/dev/null; rm -f {program}; systemctl start --no-block {patroni.UNIT}"
        source = files("tercet.nodeside").joinpath("hold_thread.py").read_bytes()
        fault = scripted(f"loop of Patroni on {node} hung", node, (make, heal), self.lasts, number)
        return replace(fault, inject=(OnNode(node, replace(shell(make), stdin=source)),))
