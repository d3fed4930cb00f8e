"""How the agents of both Consul layers know each other, and how their callers know them: certificates, and a key for
gossip.

Every node has one certificate. A server's has the names `server.DATACENTER.consul` for its own datacenter and for
`dcs`: with `verify_server_hostname`, all other agents, servers too, send calls and the Raft's log only to such a
server. A client's certificate does not have these names, so nobody who controls a node without servers can start one.

An agent shows the same certificate to the callers of its API, which reach it at LOOPBACK and prove who they are with a
token.

The key is one for all nodes, because the federation's gossip spans both layers. It keeps out whoever has no node.
"""

from __future__ import annotations

from collections.abc import Mapping

from tercet.components.consul.declaration import AUTHORITY, GOSSIP
from tercet.components.context import Context
from tercet.components.derived import Derived
from tercet.components.mutual_tls import LOOPBACK, Folder, Member, keys_of
from tercet.inventory.checks import RESERVED_DATACENTER
from tercet.inventory.platform import Node, Role

FOLDER = Folder("/etc/consul-tls")


def member(context: Context, node: Node) -> Member:
    names: tuple[str, ...] = (f"{node.name}.consul", LOOPBACK)
    if node.role is Role.CONTROL:
        own = context.platform.site(node.site).datacenter
        names = (f"server.{own}.consul", f"server.{RESERVED_DATACENTER}.consul", *names)
    return Member(context, AUTHORITY, names)


def settings() -> dict[str, object]:
    return {
        "defaults": {"ca_file": FOLDER.ca, "cert_file": FOLDER.node, "key_file": FOLDER.node},
        "internal_rpc": {"verify_incoming": True, "verify_outgoing": True, "verify_server_hostname": True},
    }


def gossip_key(context: Context) -> str:
    return context.secrets.derived_key(GOSSIP)


def _secrets(context: Context) -> Mapping[str, str]:
    members = {f"key of {node.name} in Consul": member(context, node) for node in context.platform.nodes}
    return {"key of Consul's gossip": gossip_key(context), **keys_of(members)}


SECRETS = Derived(_secrets)
