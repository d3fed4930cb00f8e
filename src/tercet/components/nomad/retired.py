"""Replaces the token of Nomad, and removes what replaced secrets leave: the old token, and old keys for gossip."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tercet.components import endpoints
from tercet.components.consul.retired import REMOVE_S, note, removed
from tercet.components.context import Context
from tercet.components.guard.component import LIBRARY, library, source
from tercet.components.nomad import tls, tokens
from tercet.components.nomad.component import SERVER
from tercet.components.nomad.declaration import GOSSIP_KEY, SEED
from tercet.components.preparation import Preparation
from tercet.converge.component import Condition
from tercet.converge.requests import Exec, Request
from tercet.converge.resources import File, Resource
from tercet.inventory.platform import Node, Role
from tercet.inventory.secrets import Secrets

PROGRAM = f"{LIBRARY}/nomad_tokens.py"
LEFT = "/var/lib/tercet/nomad-replaced"
ADD_S = 30.0


@dataclass(frozen=True, slots=True)
class Retired:
    """On each control node. What one of them removes is gone for all."""

    context: Context
    name: str = "nomad-retired"
    after: tuple[str, ...] = ("nomad",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is not Role.CONTROL:
            return
        controls = self.context.platform.of(Role.CONTROL)
        wants = {"key": tls.gossip_key(self.context), "members": len(controls), "file": LEFT}
        yield from library(("api", "endpoint", "keyring"))
        yield File(PROGRAM, source("nomad_tokens"))
        remove = _run("remove", self.context, wants, REMOVE_S)
        yield removed(f"replaced secrets of Nomad on {node.name}", LEFT, remove, controls)

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {}

    def healthy(self) -> Iterable[Condition]:
        return ()


def _prepare(context: Context, secrets: Secrets) -> Mapping[str, tuple[Request, ...]]:
    """Make the token of `secrets` valid beside the present one."""
    first = {node.name: (note(LEFT),) for node in context.platform.of(Role.CONTROL)}
    if tokens.management(secrets) == tokens.management(context.secrets):
        return first
    following = replace(context, secrets=secrets)
    # acl-bootstrap-reset is Nomad's own name.
    wants = {"secret": tokens.management(secrets), "reset": f"{SERVER}/acl-bootstrap-reset", "wait_s": ADD_S - 5}
    return {name: (*requests, _run("add", following, wants, ADD_S)) for name, requests in first.items()}


PREPARATION = Preparation((SEED.name, GOSSIP_KEY.name), _prepare)


def _run(verb: str, context: Context, wants: Mapping[str, Any], timeout: float) -> Exec:
    told = {"nomad": endpoints.nomad(context.platform, context.secrets)._asdict(), **wants}
    stdin = json.dumps(told, sort_keys=True).encode()
    return Exec(("/usr/bin/python3", "-BEs", PROGRAM, verb), stdin=stdin, timeout=timeout)
