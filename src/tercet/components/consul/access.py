"""Who may do what in Consul. Without a token, a request may only look up nodes and services.

Every node has a token of its own. Its agents add the token to each request that has none, so what a program may do
depends on its node, and the firewall decides which users of the node reach the agents. Each component declares what its
programs need in its `additions` (Rules). So a node that runs applications can read who the primary is, but only
database nodes can change anything that Patroni reads: Patroni runs commands that it finds in `dcs`.

A datacenter forwards a request for another one together with its token. So every datacenter knows the tokens of all
nodes; outside its own datacenters, a node may only look up.

The servers know the management token from their configuration. The others are in the Raft, so a new Raft has none:
`apply` and the commands that recover a datacenter create them (nodeside/acl.py). Two things must work without them,
because they show and repair a datacenter without a leader: an agent's questions about itself and about its members.
These have the token that the agent knows from its configuration (`of_agent`).

Other secrets mean other tokens (`tercet secrets rotate`). The new ones are created beside the old ones (`beside`), the
agents take them (credentials.py), and then the old ones are removed (retired.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Literal

from tercet.components import endpoints
from tercet.components.consul import tokens
from tercet.components.context import Context
from tercet.components.derived import Derived
from tercet.components.guard.component import CLIENT, LIBRARY, library, source
from tercet.components.registry import additions
from tercet.converge.requests import Answer, Exec
from tercet.converge.resources import File, Object, Resource
from tercet.errors import TercetError
from tercet.inventory.checks import RESERVED_DATACENTER
from tercet.inventory.platform import Node, Role, Site
from tercet.nodeside.acl import ANONYMOUS, DISABLED, MANAGEMENT
from tercet.nodeside.endpoint import Endpoint

PROGRAM = f"{LIBRARY}/acl.py"
LOOK_UP = "look-up"  # the name of the policy of whoever has no other
EVERYTHING = "global-management"  # Consul's own policy
MARK = "tercet "  # the description of each token and policy of tercet begins with this
SET_S = 60.0  # seconds; the servers may have to elect a leader first


@dataclass(frozen=True, slots=True)
class Rule:
    """One right, in Consul's terms: `resource` such as "key_prefix", and the name or prefix that it is about. Without a
    name, it is about the whole datacenter, as with "operator".
    """

    resource: str
    name: str
    access: Literal["read", "write"]


class Layer(Enum):
    """The two agents of a node."""

    SITE = auto()  # in the datacenter of its site
    STRETCHED = auto()  # in `dcs`, which spans all sites


@dataclass(frozen=True, slots=True)
class Rules:
    """What one component's programs on a node may do in one of the node's datacenters."""

    of: Callable[[Context, Node], Iterable[Rule]]
    layer: Layer = Layer.STRETCHED


@dataclass(frozen=True, slots=True)
class Datacenter:
    """One datacenter with its own Raft. `members` are the nodes with an agent in it, `at` is its API for management."""

    name: str
    layer: Layer
    at: Endpoint
    members: tuple[Node, ...]

    @property
    def servers(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.members if node.role is Role.CONTROL)


def of_site(context: Context, site: Site) -> Datacenter:
    platform = context.platform
    members = tuple(node for node in platform.nodes if node.site == site.name)
    return Datacenter(site.datacenter, Layer.SITE, endpoints.consul(platform, context.secrets), members)


def stretched(context: Context) -> Datacenter:
    platform = context.platform
    return Datacenter(RESERVED_DATACENTER, Layer.STRETCHED, endpoints.dcs(platform, context.secrets), platform.nodes)


CATALOGUE = (Rule("node_prefix", "", "read"), Rule("service_prefix", "", "read"))


def policy(context: Context, datacenter: Datacenter, node: Node) -> dict[str, Any]:
    """The policy of a member in Consul's form. Where two components need the same, the wider right counts."""
    own = (*CATALOGUE, Rule("node", node.name, "write"), Rule("agent", node.name, "write"))
    added = [each for each in additions(Rules) if each.layer is datacenter.layer]
    return _combined([*own, *(rule for each in added for rule in each.of(context, node))])


def _combined(rules: Iterable[Rule]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for rule in sorted(rules, key=lambda rule: rule.access):  # "write" is after "read", and replaces it
        if rule.resource == "operator":
            found[rule.resource] = rule.access
        else:
            found.setdefault(rule.resource, {})[rule.name] = {"policy": rule.access}
    return found


def settings() -> dict[str, object]:
    """The agents' part that is no secret. With "async-cache", an agent that asks itself does not wait for silent
    servers to confirm a token that they have confirmed before.
    """
    return {"enabled": True, "default_policy": "deny", "down_policy": "async-cache"}


def own_tokens(context: Context, node: Node) -> dict[str, str]:
    """The tokens that both agents of a node use."""
    secrets = context.secrets
    return {"default": tokens.of_node(secrets, node.name), "agent_recovery": tokens.of_agent(secrets, node.name)}


def server_tokens(context: Context) -> dict[str, str]:
    """The token that a server puts into its Raft whenever it becomes the leader, if it is not there."""
    return {"initial_management": tokens.management(context.secrets)}


def program() -> Iterable[Resource]:
    """The program that creates the tokens, on a control node."""
    yield from library(CLIENT)
    yield File(PROGRAM, source("acl"))


def give(context: Context, datacenter: Datacenter) -> Exec:
    """Create what is missing, on a server. Waits for a leader."""
    return _run(context, datacenter, "set", SET_S)


def created(context: Context, datacenter: Datacenter) -> Object:
    """The tokens and policies of one datacenter."""
    return Object(
        f"the tokens of {datacenter.name}",
        _run(context, datacenter, "check", 5.0),
        _differs,
        (give(context, datacenter),),
        on=datacenter.servers,
        settle=SET_S,
    )


def _differs(answer: Answer) -> str | None:
    """Raises TercetError if Consul runs without tokens."""
    if answer.text.startswith(DISABLED):
        raise TercetError(
            "expected a Consul that wants tokens, found one that an older tercet made without. To switch them on would "
            "take the database its leader, and this version has no way around that: use the version that made the "
            "platform, or make the platform anew and restore the data. Nothing was changed"
        )
    if not answer.ok:
        return f"unknown ({answer.why()})"
    return "; ".join(answer.text.splitlines()) or None


def _run(context: Context, datacenter: Datacenter, verb: str, timeout: float) -> Exec:
    return _acl(verb, wanted(context, datacenter), timeout)


def _acl(verb: str, wants: dict[str, Any], timeout: float) -> Exec:
    argv = ("/usr/bin/python3", "-BEs", PROGRAM, verb)
    return Exec(argv, stdin=json.dumps(wants, sort_keys=True).encode(), timeout=timeout)


def wanted(context: Context, datacenter: Datacenter) -> dict[str, Any]:
    """What nodeside/acl.py reads: all policies and tokens of the datacenter."""
    secrets, members = context.secrets, datacenter.members
    policies = [_policy(node.name, policy(context, datacenter, node)) for node in members]
    named = [
        {
            "AccessorID": tokens.accessor(secrets, node.name),
            "SecretID": tokens.of_node(secrets, node.name),
            "Description": f"{MARK}{node.name}",
            "Policies": [node.name if node in members else LOOK_UP],
        }
        for node in context.platform.nodes
    ]
    anonymous = {"AccessorID": ANONYMOUS, "Description": f"{MARK}no token", "Policies": [LOOK_UP]}
    return {
        "consul": datacenter.at._asdict(),
        "mark": MARK,
        "wait_s": SET_S - 5,
        "policies": [*policies, _policy(LOOK_UP, _combined(CATALOGUE))],
        "tokens": [*named, anonymous],
    }


def _policy(name: str, rules: dict[str, Any]) -> dict[str, str]:
    return {"Name": name, "Description": f"{MARK}{name}", "Rules": json.dumps(rules, sort_keys=True)}


def datacenters(context: Context) -> tuple[Datacenter, ...]:
    """Those of the sites, and `dcs`."""
    return (*(of_site(context, site) for site in context.platform.sites), stretched(context))


def beside(context: Context, following: Context) -> Mapping[str, tuple[Exec, ...]]:
    """Create the tokens of the following secrets, also the one for management, with that of the present secrets. The
    result says what each server is asked, in order.
    """
    secrets = following.secrets
    management = {
        "AccessorID": tokens.accessor(secrets, "management"),
        "SecretID": tokens.management(secrets),
        "Description": f"{MARK}{MANAGEMENT}",
        "Policies": [EVERYTHING],
    }
    requests: dict[str, tuple[Exec, ...]] = {}
    for datacenter, then in zip(datacenters(context), datacenters(following), strict=True):
        wants = wanted(following, then)
        wants |= {"consul": datacenter.at._asdict(), "tokens": [*wants["tokens"], management]}
        server = datacenter.servers[0]
        requests[server] = (*requests.get(server, ()), _acl("set", wants, SET_S))
    return requests


def _tokens(context: Context) -> dict[str, str]:
    """Every token of the platform's nodes, lost ones too."""
    platform, secrets = context.platform, context.secrets
    found = {"token of Consul for management": tokens.management(secrets)}
    for node in (*platform.nodes, *platform.lost_nodes):
        found[f"token of {node.name} in Consul"] = tokens.of_node(secrets, node.name)
        found[f"token of the agents of {node.name}"] = tokens.of_agent(secrets, node.name)
    return found


TOKENS = Derived(_tokens)
