"""What `verify` proves of the firewall: an unprivileged user of a node reaches no API of the platform."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from importlib.resources import files

from tercet.components.context import Context
from tercet.components.firewall.component import platform_ports
from tercet.components.proof import Proof
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.requests import Exec
from tercet.inventory.components import declarations
from tercet.inventory.openings import EVERYBODY, users
from tercet.inventory.platform import Platform

_KNOCK = files("tercet.nodeside").joinpath("knock.py").read_text(encoding="utf-8")
KNOCK_S = 2.0
NOBODY = "nobody"


def proof(context: Context) -> Proof:
    tried = {node.name: doors(context.platform, node.name, NOBODY) for node in context.platform.nodes}
    asked = {name: {"proof.users": knock(NOBODY, each)} for name, each in tried.items()}
    return Proof((closed(tried),), asked)


def knock(user: str, tried: Iterable[str]) -> Exec:
    """Answers with a line for each door that answers: "open DOOR" or "refused DOOR"."""
    return Exec(("python3", "-I", "-c", _KNOCK, user, str(KNOCK_S), *tried), timeout=KNOCK_S + 5)


def doors(platform: Platform, node: str, user: str) -> list[str]:
    """ADDRESS:PORT of each port that the user may not use: on this node, and on one other node of each role."""
    uses = users(platform, (use for each in declarations() for use in each.uses))
    closed = [port for port in platform_ports(platform) if port not in uses.get(user, ())]
    closed_here = [port for port in closed if port not in uses[EVERYBODY]]
    others = {each.role: each.name for each in platform.nodes if each.name != node}.values()
    here = [f"{name}:{port}" for name in ("127.0.0.1", node) for port in closed_here]
    return [*here, *(f"{name}:{port}" for name in others for port in closed)]


def closed(tried: Mapping[str, Collection[str]]) -> Condition:
    """Holds if all doors that each node tried were refused."""

    def check(readings: Readings) -> State:
        present = readings.present(tried)
        said = {name: readings.get(name, "proof.users").text.splitlines() for name in present}
        opened = [f"{name}: {door}" for name in present for door in tried[name] if f"open {door}" in said[name]]
        if opened:
            return Waiting(f"the user nobody connects, on {', '.join(opened)}")
        for name in present:
            if silent := [door for door in tried[name] if f"refused {door}" not in said[name]]:
                answer = readings.get(name, "proof.users")
                why = "no answer" if answer.ok else answer.why()
                return Waiting(f"{name}: the user nobody is not refused at {', '.join(silent)} ({why})")
        return Passing(f"{len(present)} nodes")

    return Condition("firewall: an unprivileged user of a node reaches no API", check)
