"""Renders and parses cut links: an nftables set of (source, target) pairs that expire in the kernel. Pure.

Invariant: a cut ends when its time is up, even if the tool is dead, because the kernel expires it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Any

from tercet.providers.lab.wan import Pair, subnet

TABLE = "tercet_faults"
SET = f"ip {TABLE} cut"


def table() -> str:
    """The script that makes the table if it is missing, and keeps the elements of an existing one. The table runs
    before the WAN's, because packets that the WAN holds have already left their site.
    """
    return (
        f"add table ip {TABLE}\n"
        f"add set {SET} {{ type ipv4_addr . ipv4_addr; flags interval, timeout; }}\n"
        f"add chain ip {TABLE} links {{ type filter hook forward priority -10; policy accept; }}\n"
        f"flush chain ip {TABLE} links\n"
        f"add rule ip {TABLE} links ip saddr . ip daddr @cut drop\n"
    )


def cut(pairs: Iterable[tuple[IPv4Network, IPv4Network]], seconds: float) -> str:
    """Cut each pair for `seconds` from now. This replaces an earlier cut of the pair."""
    return "".join(
        _forget(pair) + f"add element {SET} {{ {_key(pair)} timeout {round(seconds * 1000)}ms }}\n" for pair in pairs
    )


def join(pairs: Iterable[tuple[IPv4Network, IPv4Network]]) -> str:
    """Undo the cut of each pair that is cut."""
    return "".join(_forget(pair) for pair in pairs)


def join_all() -> str:
    """Undo every cut."""
    return f"flush set {SET}\n"


def _key(pair: Pair) -> str:
    return f"{pair[0]} . {pair[1]}"


def _forget(pair: Pair) -> str:
    """Delete the element. It is added first, because deleting a missing element would fail."""
    return f"add element {SET} {{ {_key(pair)} }}\ndelete element {SET} {{ {_key(pair)} }}\n"


def present(ruleset: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the table is complete, from `nft -j list ruleset`."""
    rules = (item["rule"] for item in ruleset if item.get("rule", {}).get("table") == TABLE)
    return any(rule["chain"] == "links" and any("drop" in part for part in rule["expr"]) for rule in rules)


def parse(ruleset: Sequence[Mapping[str, Any]]) -> dict[Pair, float]:
    """The pairs that are cut now and the whole seconds left, from `nft -j list ruleset`."""
    found: dict[Pair, float] = {}
    for item in ruleset:
        if item.get("set", {}).get("table") == TABLE and item["set"]["name"] == "cut":
            for entry in item["set"].get("elem", ()):
                element = entry.get("elem") or {"val": entry}  # an element without a time limit was made by hand
                source, target = element["val"]["concat"]
                found[subnet(source), subnet(target)] = float(element.get("expires", 0))
    return found
