"""While sites are lost, only the remaining nodes can use the platform's ports over the tailnet.

nodeside/allowlist.py has the details and the reasons. If no site is lost, nothing of this exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tercet.components.context import Context
from tercet.components.guard.component import LIBRARY, active, library, source
from tercet.components.systemd import unit_file, unit_path
from tercet.components.tailscale.component import HOSTS, INTERFACE
from tercet.components.tailscale.component import UNIT as TAILSCALED
from tercet.components.text import as_json
from tercet.converge.component import Condition
from tercet.converge.requests import Active, Request
from tercet.converge.resources import Absent, Directory, File, Resource, Unit
from tercet.inventory.platform import Node, Role

UNIT = "tercet-allowlist.service"
PROGRAM = f"{LIBRARY}/allowlist.py"
SETTINGS = "/etc/tercet/allowlist.json"


@dataclass(frozen=True, slots=True)
class Allowlist:
    """The rules on every remaining node."""

    context: Context
    name: str = "allowlist"
    after: tuple[str, ...] = ("tailscale", "membership")

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is Role.WORLD:
            return
        platform = self.context.platform
        if not platform.lost_sites:
            yield Unit(UNIT, active=False)
            yield from (Absent(path) for path in (unit_path(UNIT), SETTINGS))
            return
        settings = {
            "members": [member.name for member in platform.nodes],
            "tailnet": str(platform.settings.tailnet.cidr),
            "interface": INTERFACE,
            "ports": sorted(set(platform.settings.ports.model_dump(exclude={"tailscale"}).values())),
        }
        yield Directory("/etc/tercet")
        yield from library(("host", "tailnet"))
        yield File(PROGRAM, source("allowlist"))
        yield File(SETTINGS, as_json(settings))
        yield File(unit_path(UNIT), self._unit())
        # A reload replaces the rules as a whole. Between the stop and the start of a unit, there would be none.
        yield Unit(UNIT, restart_on=(PROGRAM, unit_path(UNIT)), reload_on=(SETTINGS, HOSTS))

    def _unit(self) -> bytes:
        start = f"/usr/bin/python3 -BEs {PROGRAM} {SETTINGS}"
        return unit_file(
            "Keeps lost sites out",
            {
                "Type": "oneshot",
                "RemainAfterExit": "yes",
                "ExecStart": f"{start} raise",
                "ExecReload": f"{start} raise",
                "ExecStop": f"{start} lower",
                # The program ends when the rules are installed, and tailscaled starts after that.
                "TimeoutStartSec": "infinity",
            },
            unit={"Before": TAILSCALED},
            restart=False,
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {"allowlist": Active(UNIT)} if self.context.platform.lost_sites and node.role is not Role.WORLD else {}

    def healthy(self) -> Iterable[Condition]:
        if self.context.platform.lost_sites:
            names = [node.name for node in self.context.platform.nodes]
            units = tuple((name, UNIT) for name in names)
            yield Condition("tailnet: lost sites are kept out on every node", active(names, "allowlist"), units)
