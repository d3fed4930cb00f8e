"""Takes away what replaced secrets leave in Consul, after every program has the new ones: old tokens and old keys for
gossip. The tokens of nodes that are gone are removed, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tercet.components import endpoints
from tercet.components.consul import access, tls
from tercet.components.context import Context
from tercet.components.guard.component import LIBRARY, library, source
from tercet.converge.component import Condition
from tercet.converge.requests import Answer, Exec, Request
from tercet.converge.resources import File, Object, Resource
from tercet.inventory.platform import Node, Platform, Role

PROGRAM = f"{LIBRARY}/retired.py"
CHECK_S = 5.0
REMOVE_S = 60.0


@dataclass(frozen=True, slots=True)
class Retired:
    """On each control node, for its own datacenter, `dcs` and all gossip. What one of them removes is gone for all."""

    context: Context
    name: str = "consul-retired"
    after: tuple[str, ...] = ("consul", "dcs-agents", "guard", "nomad")

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is not Role.CONTROL:
            return
        yield from library(("acl", "api", "endpoint", "keyring"))
        yield File(PROGRAM, source("retired"))
        wants = json.dumps(self._wanted(node), sort_keys=True).encode()
        yield Object(
            f"what replaced secrets left in Consul, seen from {node.name}",
            _run("check", wants, CHECK_S),
            left,
            (_run("remove", wants, REMOVE_S),),
            needs=tuple((each.name, Exec(("true",))) for each in self.context.platform.nodes),
            permit=everybody_answers,
            optional=True,
            settle=REMOVE_S,
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {}

    def healthy(self) -> Iterable[Condition]:
        return ()

    def _wanted(self, node: Node) -> dict[str, Any]:
        context = self.context
        own = access.of_site(context, context.platform.site(node.site))
        keys = {
            "consul": endpoints.consul(context.platform, context.secrets)._asdict(),
            "key": tls.gossip_key(context),
            "members": members(context.platform),
        }
        both = (own, access.stretched(context))
        return {"datacenters": [access.wanted(context, each) for each in both], "keyring": keys}


def members(platform: Platform) -> int:
    """Each node is a member of its site's datacenter and of `dcs`, and each server of both is one of the federation."""
    return 2 * len(platform.nodes) + 2 * len(platform.of(Role.CONTROL))


def left(answer: Answer) -> str | None:
    """What is to be removed. If Consul does not say it, the next `apply` finds it."""
    return "; ".join(dict.fromkeys(answer.text.splitlines())) or None


def everybody_answers(answers: dict[str, Answer]) -> str | None:
    """A node that is away would return with an old token or key, and be shut out."""
    silent = sorted(name for name, answer in answers.items() if not answer.ok)
    return f"{', '.join(silent)} may still have the old ones" if silent else None


def _run(verb: str, wants: bytes, timeout: float) -> Exec:
    return Exec(("/usr/bin/python3", "-BEs", PROGRAM, verb), stdin=wants, timeout=timeout)
