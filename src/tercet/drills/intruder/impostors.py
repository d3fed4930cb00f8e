"""A user of a node listens at a port of the platform, as if its program were down, and waits for root's tokens."""

from __future__ import annotations

from importlib.resources import files

from tercet.components.firewall.component import platform_ports
from tercet.converge.observe import ask
from tercet.converge.requests import Exec
from tercet.drills.intruder.attempt import ASK_S, Attempt
from tercet.inventory.platform import Role
from tercet.session.session import Session

USER = "nobody"
PROGRAM = files("tercet.nodeside").joinpath("impostor.py").read_text(encoding="utf-8")


async def attempts(session: Session) -> list[Attempt]:
    """On a node of each role, at a port that no program has there."""
    platform = session.platform
    nodes = [platform.at(platform.sites[0].name, role).name for role in (Role.CONTROL, Role.APPS, Role.DB)]
    words = ("python3", "-I", "-c", PROGRAM, USER, *map(str, platform_ports(platform)))
    readings = await ask(session.provider, {name: {"it": Exec(words, timeout=10)} for name in nodes}, timeout=ASK_S)
    found = []
    for name in nodes:
        answer = readings.get(name, "it")
        reached = "" if answer.text.startswith("ignored ") else f"it is not ignored: {answer.why()}"
        found.append(Attempt(f"{USER} on {name}", "listens at a port of the platform, and root connects", reached))
    return found
