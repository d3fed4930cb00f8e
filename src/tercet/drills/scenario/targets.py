"""The targets of a scenario's faults, in words, and what they mean on the present platform. Pure.

    site   = "site of the primary" | "site of a standby" | "site of the other standby" | "site NAME"
    node   = "the primary" | "a standby" | "the other standby" | "the dcs leader" | "the control plane"
           | "consul-nomad at SITE" | "apps at SITE" | "db at SITE" | "node NAME"
    many   = "every standby" | "every site"
    process = PROCESS " on " NODE, PROCESS one that a component declares

"a standby" is the standby at the site of --site, or else the first one in the order of the inventory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from tercet.errors import TercetError
from tercet.inventory.components import processes
from tercet.inventory.platform import Platform, Role
from tercet.inventory.problems import quoted
from tercet.inventory.providers import declarations

SITE = r"site of the primary|site of a standby|site of the other standby|site [a-z0-9][a-z0-9-]*"
NODE = (
    r"the primary|a standby|the other standby|the dcs leader|the control plane"
    rf"|(?:consul-nomad|apps|db) at (?:{SITE})|node [a-z0-9][a-z0-9-]*"
)
MANY = r"every standby|every site"

Shape = Literal["site", "machines", "process", "node"]
_PATTERNS: dict[Shape, re.Pattern[str]] = {
    "site": re.compile(SITE),
    "node": re.compile(NODE),
    "machines": re.compile(rf"{SITE}|{NODE}|{MANY}"),
}
EXPECTED: dict[Shape, str] = {
    "site": "a site, such as: site of the primary",
    "node": "a node, such as: the primary",
    "machines": "a site or nodes, such as: site of the primary, the primary, every standby",
    "process": "a process on a node, such as: patroni on the primary",
}


_NAMED = re.compile(r"(?:^| )(site|node) (\S+)$")


class TargetError(TercetError):
    """A target that does not exist on the present platform."""


@dataclass(frozen=True, slots=True)
class View:
    """The platform at the moment of the fault, as names of nodes. `chosen` is the site of --site, or ""."""

    platform: Platform
    primary: str
    standbys: tuple[str, ...]
    dcs_leader: str
    chosen: str = ""


def is_target(text: str, shape: Shape) -> bool:
    """Whether the text is a target of that shape."""
    if shape == "process":
        process, _, node = text.partition(" on ")
        return process in processes() and is_target(node, "node")
    return _PATTERNS[shape].fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class UnknownTarget:
    """A target that the platform does not have. `write` is the similar target that was probably meant, if there
    is one.
    """

    expected: str
    found: str
    write: str = ""


def unknown(text: str, platform: Platform) -> UnknownTarget | None:
    """What is wrong with a target on this platform, whichever node is primary; None if nothing is wrong."""
    if text.endswith("the control plane") and platform.world is None:
        makers = " or ".join(each.name for each in declarations() if each.world)
        return UnknownTarget(f"a node that the tool can reach; only the provider {makers} makes a control plane", text)
    named = _NAMED.search(text)
    if named is None:
        return None
    kind, name = named.groups()
    known = [one.name for one in (platform.sites if kind == "site" else platform.containers)]
    if name in known:
        return None
    close = get_close_matches(name, known, n=1, cutoff=0.5) or known
    return UnknownTarget(f"a {kind} of this platform ({', '.join(known)})", name, text[: named.start(2)] + close[0])


def _check(text: str, platform: Platform) -> None:
    wrong = unknown(text, platform)
    if wrong:
        raise TargetError(f"expected {wrong.expected}, found {quoted(wrong.found)}")


def chooses_standby(text: str) -> bool:
    """Whether the meaning of the target depends on --site."""
    return "a standby" in text or "the other standby" in text


def site_of(text: str, view: View) -> str:
    """The site that a target of shape "site" means now. Raises TargetError."""
    match text:
        case "site of the primary":
            return _site(view.primary, view)
        case "site of a standby":
            return _site(_standby(view), view)
        case "site of the other standby":
            return _site(_other_standby(view), view)
    _check(text, view.platform)
    return text.removeprefix("site ")


def nodes_of(text: str, view: View) -> tuple[str, ...]:
    """The nodes that a target of shape "node" or "machines" means now. Raises TargetError."""
    _check(text, view.platform)
    match text:
        case "the primary":
            return (_known(view.primary, "a primary"),)
        case "a standby":
            return (_standby(view),)
        case "the other standby":
            return (_other_standby(view),)
        case "every standby":
            return view.standbys
        case "the dcs leader":
            return (_known(view.dcs_leader, "a leader of dcs"),)
        case "every site":
            return tuple(node.name for node in view.platform.nodes)
        case "the control plane":
            return ("world",)
    role, at, site = text.partition(" at ")
    if at:
        return (view.platform.at(site_of(site, view), Role(role)).name,)
    if text.startswith("node "):
        return (text.removeprefix("node "),)
    name = site_of(text, view)
    return tuple(node.name for node in view.platform.nodes if node.site == name)


def process_of(text: str, view: View) -> tuple[str, str]:
    """(process, node) that a target of shape "process" means now. Raises TargetError."""
    process, _, where = text.partition(" on ")
    return process, nodes_of(where, view)[0]


def _site(node: str, view: View) -> str:
    return view.platform.node(_known(node, "a primary")).site


def _known(name: str, what: str) -> str:
    if not name:
        raise TargetError(f"expected {what} before the fault, found none; see `tercet status`")
    return name


def _standby(view: View) -> str:
    if view.chosen:
        for name in view.standbys:
            if view.platform.node(name).site == view.chosen:
                return name
        raise TargetError(
            f"expected a standby at {view.chosen}, found "
            f"{'the primary there; name another site' if _site(view.primary, view) == view.chosen else 'none'}"
        )
    return _known(view.standbys[0] if view.standbys else "", "a standby")


def _other_standby(view: View) -> str:
    first = _standby(view)
    return _known(next((name for name in view.standbys if name != first), ""), "a second standby")
