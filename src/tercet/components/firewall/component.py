"""The firewall on every node: the openings that the components declare, as rules for nodeside/firewall.py.

The file with the rules has names; the program on the node reads their addresses in /etc/hosts. So a node that is
replaced changes nothing here but that one file, which reloads the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tercet.components.accounts import accounts
from tercet.components.context import Context
from tercet.components.firewall.declaration import SSH, UNIT
from tercet.components.guard.component import LIBRARY, library, source
from tercet.components.sandbox import Sandbox
from tercet.components.systemd import unit_file, unit_path
from tercet.components.tailscale.component import HOSTS, INTERFACE
from tercet.components.tailscale.component import UNIT as TAILSCALED
from tercet.components.tailscale.declaration import TailscalePorts
from tercet.components.text import as_json
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.requests import Answer, Exec, Request
from tercet.converge.resources import Directory, File, Object, Resource, Unit
from tercet.inventory.components import declarations
from tercet.inventory.openings import rules, users
from tercet.inventory.platform import Node, Platform, Role
from tercet.inventory.providers import declaration
from tercet.nodeside.firewall import TABLE

PROGRAM = f"{LIBRARY}/firewall.py"
SETTINGS = "/etc/tercet/firewall.json"
# The kernel's own answer: a unit that ran once stays active, even if somebody flushed its rules.
RULES = Exec(("nft", "list", "chain", *TABLE.split(), "input"))


@dataclass(frozen=True, slots=True)
class Firewall:
    """The rules on every node."""

    context: Context
    name: str = "firewall"
    after: tuple[str, ...] = ("tailscale", "membership")

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is Role.WORLD:
            return
        program = (
            *library(("host", "tailnet")),
            File(PROGRAM, source("firewall")),
            File(unit_path(UNIT), _unit()),
        )
        yield from accounts(node)  # the rules name them
        yield Directory("/etc/tercet")
        yield from program
        yield File(SETTINGS, as_json(self._settings(node)))
        # A reload replaces the rules as a whole, and so does a restart, because a stop leaves them.
        restart_on = tuple(each.path for each in program if isinstance(each, File))
        yield Unit(UNIT, restart_on=restart_on, reload_on=(SETTINGS, HOSTS))
        again = Exec(("systemctl", "restart", UNIT), timeout=10)
        yield Object(f"firewall of {node.name}", RULES, _open, (again,))

    def _settings(self, node: Node) -> dict[str, object]:
        platform = self.context.platform
        settings = platform.settings
        everybody = [*settings.firewall.open] if node.role is Role.APPS else []
        ssh = [SSH] if declaration(settings.provider).ssh(settings, node.site) else []
        return {
            "interface": INTERFACE,
            "tailnet": str(settings.tailnet.cidr),
            "join": settings.ports.of(TailscalePorts).tailscale,
            "open": {"tailnet": [*everybody, *ssh], "outside": everybody},
            "ports": platform_ports(platform),
            "members": [member.name for member in platform.nodes],
            "rules": rules(node, platform, (opening for each in declarations() for opening in each.opens)),
            "users": users(platform, (use for each in declarations() for use in each.uses)),
            "lost": bool(platform.lost_sites),
        }

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {} if node.role is Role.WORLD else {"firewall": RULES}

    def healthy(self) -> Iterable[Condition]:
        names = [node.name for node in self.context.platform.nodes]
        yield Condition("firewall: every node is closed", _closed(names), tuple((name, UNIT) for name in names))


def platform_ports(platform: Platform) -> list[int]:
    """All ports but tailscaled's, which is for the internet."""
    ports = platform.settings.ports
    return sorted({*ports.model_dump().values()} - {ports.of(TailscalePorts).tailscale})


def _unit() -> bytes:
    start = f"/usr/bin/python3 -BEs {PROGRAM} {SETTINGS}"
    return unit_file(
        "Firewall",
        {
            "Type": "oneshot",
            "RemainAfterExit": "yes",
            "ExecStart": start,
            "ExecReload": start,
            # The program ends when the rules are installed, and tailscaled starts after that.
            "TimeoutStartSec": "infinity",
        },
        sandbox=Sandbox(capabilities=("CAP_NET_ADMIN",)),
        # Very early, as is usual for a firewall, and while the processors are still idle: beside the other programs in
        # Python, its start took 1.4 s and held up tailscaled (seen on two slow cores). Not before sysinit.target: while
        # nft does not work, only the network waits, and the node can be repaired from its host.
        unit={
            "DefaultDependencies": "no",
            "Before": f"{TAILSCALED} network-pre.target shutdown.target",
            "Wants": "network-pre.target",
            "Conflicts": "shutdown.target",
        },
        restart=False,
        wanted_by="sysinit.target",
    )


def _open(answer: Answer) -> str | None:
    """Why the node is not known to be closed; None if it is."""
    if answer.status == -1:
        return f"its rules are unknown ({answer.why()})"
    if not answer.ok:
        said = (answer.error or answer.text).strip()
        return f"the rules are not installed ({said.splitlines()[0] if said else 'no output'})"
    return None if "policy drop" in answer.text else "the rules admit everything"


def _closed(names: list[str]) -> Callable[[Readings], State]:
    def check(readings: Readings) -> State:
        present = readings.present(names)
        for name in present:
            if problem := _open(readings.get(name, "firewall")):
                return Waiting(f"{name}: {problem}")
        return Passing(f"{len(present)} nodes")

    return check
