"""Removes what replaced secrets leave in Consul, old tokens and old keys for gossip, after every program has the new
ones.

A file on each control node says that something may be left, because to ask Consul takes half a second. It is written
before anything is replaced.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tercet.components import endpoints
from tercet.components.consul import access, tls, tokens
from tercet.components.consul.declaration import GOSSIP, SEED
from tercet.components.context import Context
from tercet.components.guard.component import LIBRARY, library, source
from tercet.components.preparation import Preparation
from tercet.converge.component import Condition
from tercet.converge.requests import Answer, Exec, Request
from tercet.converge.resources import File, Object, Resource
from tercet.inventory.platform import Node, Platform, Role
from tercet.inventory.secrets import Secrets

PROGRAM = f"{LIBRARY}/retired.py"
LEFT = "/var/lib/tercet/consul-replaced"
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
        remove = Exec(("/usr/bin/python3", "-BEs", PROGRAM), stdin=self._wanted(node), timeout=REMOVE_S)
        yield removed(f"replaced secrets of Consul on {node.name}", LEFT, remove, self.context.platform.nodes)

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {}

    def healthy(self) -> Iterable[Condition]:
        return ()

    def _wanted(self, node: Node) -> bytes:
        context = self.context
        both = access.of_site(context, context.platform.site(node.site)), access.stretched(context)
        keyring = {
            "consul": endpoints.consul(context.platform, context.secrets)._asdict(),
            "key": tls.gossip_key(context),
            "members": members(context.platform),
        }
        wants = {"file": LEFT, "datacenters": [access.wanted(context, each) for each in both], "keyring": keyring}
        return json.dumps(wants, sort_keys=True).encode()


def members(platform: Platform) -> int:
    """Each node is a member of its site's datacenter and of `dcs`, and each server of both is one of the federation."""
    return 2 * len(platform.nodes) + 2 * len(platform.of(Role.CONTROL))


def removed(name: str, file: str, remove: Exec, nodes: Iterable[Node]) -> Object:
    """What is left is removed once all `nodes` answer: one that is away would return with an old token or key, and be
    shut out.
    """
    return Object(
        name,
        Exec(("sh", "-c", f"! [ -e {file} ]")),
        lambda answer: None if answer.ok else "they may still be valid",
        (remove,),
        needs=tuple((each.name, Exec(("true",))) for each in nodes),
        permit=_everybody_answers,
        optional=True,
        settle=REMOVE_S,
    )


def note(file: str) -> Exec:
    """Write the file that says that something may be left."""
    return Exec(("sh", "-c", f"mkdir -p $(dirname {file}) && touch {file}"))


def _everybody_answers(answers: dict[str, Answer]) -> str | None:
    silent = sorted(name for name, answer in answers.items() if not answer.ok)
    return f"{', '.join(silent)} may still have the old ones" if silent else None


def _prepare(context: Context, secrets: Secrets) -> Mapping[str, tuple[Request, ...]]:
    """Make the tokens of `secrets` valid beside the present ones."""
    first = {node.name: (note(LEFT),) for node in context.platform.of(Role.CONTROL)}
    if tokens.management(secrets) == tokens.management(context.secrets):
        return first
    then = access.beside(context, replace(context, secrets=secrets))
    return {name: (*requests, *then.get(name, ())) for name, requests in first.items()}


PREPARATION = Preparation((SEED.name, GOSSIP.name), _prepare)
