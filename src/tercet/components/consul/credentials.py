"""The tokens of a node and the key for gossip, which both of its agents read from the same files.

Agents take new tokens when they are reloaded. This component comes before the agents' own, because those ask with the
new tokens, and restart one agent after the other only while all answer.

A key for gossip counts only until an agent has a keyring, which it makes when it is started for the first time. For
another one, no agent is restarted: the keyrings get it while they run (retired.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tercet.components import endpoints
from tercet.components.consul import access, tls
from tercet.components.consul.declaration import UNIT, USER
from tercet.components.context import Context
from tercet.components.dcs.declaration import UNIT as DCS_UNIT
from tercet.components.text import as_json
from tercet.converge.component import Condition
from tercet.converge.requests import Answer, Exec, Http, Request
from tercet.converge.resources import File, Object, Resource
from tercet.errors import TercetError
from tercet.inventory.platform import Node, Role
from tercet.nodeside.api import NO_TLS
from tercet.nodeside.endpoint import Endpoint

TOKENS = "/etc/consul-tokens.json"
GOSSIP = "/etc/consul-gossip.json"
DENIED = 403


@dataclass(frozen=True, slots=True)
class Credentials:
    """The files, and the agents that run with these tokens."""

    context: Context
    name: str = "consul-credentials"
    after: tuple[str, ...] = ("addresses",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is Role.WORLD:
            return
        context = self.context
        tokens = {"acl": {"tokens": access.own_tokens(context, node)}}
        yield File(TOKENS, as_json(tokens), mode=0o600, owner=USER, secret=True)
        yield File(GOSSIP, as_json({"encrypt": tls.gossip_key(context)}), mode=0o600, owner=USER, secret=True)
        yield _loaded(UNIT, endpoints.consul_agent(context.platform, node.name, context.secrets))
        yield _loaded(DCS_UNIT, endpoints.dcs_agent(context.platform, node.name, context.secrets))

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {}

    def healthy(self) -> Iterable[Condition]:
        return ()


def _loaded(unit: str, agent: Endpoint) -> Object:
    reload = Exec(("systemctl", "reload", unit), timeout=10)
    return Object(f"the tokens that {unit} has read", Http(agent, "/v1/agent/services"), _others, (reload,))


def _others(answer: Answer) -> str | None:
    """An agent that does not run will read the file when it is started. Raises TercetError if its API has no TLS."""
    if NO_TLS in answer.error:
        raise TercetError(
            "expected Consul's API with TLS, found it without, as an older tercet made it. This version has no way to "
            "change that while the platform runs: use the version that made the platform, or make the platform anew "
            "and restore the data. Nothing was changed"
        )
    return "it has read others" if answer.status == DENIED else None
