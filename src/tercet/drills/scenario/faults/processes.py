"""Processes that are killed, asked to end, stopped, or kept down.

Each kind has two pairs of scripts: one for systemd units, and one for the postmaster, which is Patroni's child. In each
pair, the first script makes the fault and the second ends it.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from tercet.components.patroni import component as patroni
from tercet.drills.scenario.actions import Fault, scripted
from tercet.drills.scenario.drawn import Drawn, a_process
from tercet.drills.scenario.fault import Facts, FaultModel, register
from tercet.drills.scenario.shapes import Process
from tercet.drills.scenario.targets import View, process_of
from tercet.inventory.components import Cost, processes
from tercet.inventory.platform import Role

POSTMASTER_PID = f"{patroni.DATA}/postmaster.pid"
POSTMASTER = f"$(head -1 {POSTMASTER_PID})"
START_PATRONI = f"systemctl start --no-block {patroni.UNIT}"

Scripts = tuple[str, str]


class ProcessFault(FaultModel):
    """The common part of the kinds."""

    done: ClassVar[str]
    """A word for what was done to the process, for titles."""
    lasting: ClassVar[bool]
    """Whether the process does nothing until the fault is healed. Otherwise, only until it is started again."""

    @property
    def deafens(self) -> bool:
        process, _, node = self.targets[0].partition(" on ")
        return self.lasting and Cost.PRIMARY in processes()[process].costs and node.startswith("apps at")

    @abstractmethod
    def of_unit(self, unit: str) -> Scripts: ...

    @abstractmethod
    def of_postmaster(self, number: int) -> Scripts: ...

    def fault(self, view: View, facts: Facts, number: int) -> Fault:
        name, node = process_of(self.targets[0], view)
        process = processes()[name]
        unit = process.unit_with(facts.proxy)
        scripts = self.of_unit(unit) if unit else self.of_postmaster(number)
        fault = scripted(f"{name} of {node} {self.done}", node, scripts, self.lasts, number)
        where = view.platform.node(node)
        if where.role is not Role.APPS:
            return fault
        site, none = frozenset({where.site}), frozenset[str]()
        dark, blind = self.lasting and Cost.APPLICATIONS in process.costs, Cost.DATABASES in process.costs
        return replace(fault, sites=site if dark else none, roaming=site if blind else none)


@register
class Crash(ProcessFault):
    """A process is killed with SIGKILL; its supervisor reacts as usual."""

    kind: ClassVar = "crash"
    place: ClassVar = 9
    drawn: ClassVar = Drawn(3, 8, a_process)
    done: ClassVar = "killed"
    lasting: ClassVar = False

    crash: Annotated[Process, Field(examples=["postmaster on the primary"])]

    def of_unit(self, unit: str) -> Scripts:
        return _signal("KILL", unit), _start(unit)

    def of_postmaster(self, number: int) -> Scripts:
        return f"kill -KILL {POSTMASTER}", START_PATRONI


@register
class Terminate(ProcessFault):
    """A process gets SIGTERM, but not from its supervisor."""

    kind: ClassVar = "terminate"
    place: ClassVar = 10
    drawn: ClassVar = Drawn(3, 8, a_process)
    done: ClassVar = "terminated"
    lasting: ClassVar = False

    terminate: Annotated[Process, Field(examples=["patroni on the primary"])]

    def of_unit(self, unit: str) -> Scripts:
        return _signal("TERM", unit), _start(unit)

    def of_postmaster(self, number: int) -> Scripts:
        return f"kill -TERM {POSTMASTER}", START_PATRONI


@register
class Hang(ProcessFault):
    """A process is stopped with SIGSTOP: it exists but does not answer."""

    kind: ClassVar = "hang"
    place: ClassVar = 11
    drawn: ClassVar = Drawn(5, 15, a_process)
    done: ClassVar = "frozen"
    lasting: ClassVar = True

    hang: Annotated[Process, Field(examples=["patroni on the primary"])]

    def of_unit(self, unit: str) -> Scripts:
        return _signal("STOP", unit), f"{_signal('CONT', unit)} 2>/dev/null; {_start(unit)}"

    def of_postmaster(self, number: int) -> Scripts:
        # When the fault is healed, the file may name a new postmaster, so the frozen one's process ID is stored.
        note = f"/run/tercet-frozen-{number}"
        thaw = f"[ ! -s {note} ] || kill -CONT $(cat {note}) 2>/dev/null; rm -f {note}; {START_PATRONI}"
        return f"head -1 {POSTMASTER_PID} > {note} && kill -STOP $(cat {note})", thaw


@register
class HoldDown(ProcessFault):
    """A process is killed with SIGKILL and kept from being started again."""

    kind: ClassVar = "hold_down"
    place: ClassVar = 13
    drawn: ClassVar = Drawn(5, 15, a_process)
    done: ClassVar = "held down"
    lasting: ClassVar = True

    hold_down: Annotated[Process, Field(examples=["consul on consul-nomad at site of a standby"])]

    def of_unit(self, unit: str) -> Scripts:
        # The process is already gone; the stop only keeps the supervisor from starting the unit again.
        return f"{_signal('KILL', unit)}; systemctl stop {unit}", _start(unit)

    def of_postmaster(self, number: int) -> Scripts:
        # Patroni starts PostgreSQL, so PostgreSQL stays down only if Patroni is down too.
        held, _ = self.of_unit(patroni.UNIT)
        return f"{held}; kill -KILL {POSTMASTER}", START_PATRONI


def _signal(name: str, unit: str) -> str:
    """Signal only the main process: PostgreSQL continues when its Patroni is frozen."""
    return f"systemctl kill --kill-whom=main --signal={name} {unit}"


def _start(unit: str) -> str:
    return f"systemctl reset-failed {unit} 2>/dev/null; systemctl start --no-block {unit}"
