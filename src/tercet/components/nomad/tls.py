"""How Nomad's agents know each other, and how their callers know them.

- Calls between agents use TLS in both directions. Only a control node has a certificate with the name
  `server.global.nomad`, and no agent sends anything to a server without it.
- Servers encrypt gossip.
- An agent shows the same certificate to the callers of its API, which reach it at LOOPBACK and prove who they are with
  a token (security.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from tercet.components.context import Context
from tercet.components.derived import Derived
from tercet.components.mutual_tls import LOOPBACK, Folder, Member, keys_of
from tercet.components.nomad.declaration import AUTHORITY, GOSSIP_KEY
from tercet.inventory.platform import Node, Role

FOLDER = Folder("/etc/nomad-tls")


def member(context: Context, node: Node) -> Member:
    kind = "server" if node.role is Role.CONTROL else "client"
    return Member(context, AUTHORITY, (f"{kind}.global.nomad", f"{node.name}.nomad", LOOPBACK))


def settings() -> dict[str, object]:
    files = {"ca_file": FOLDER.ca, "cert_file": FOLDER.node, "key_file": FOLDER.node}
    return {"tls": {"http": True, "rpc": True, "verify_server_hostname": True, **files}}


def gossip_key(context: Context) -> str:
    return context.secrets.derived_key(GOSSIP_KEY)


def secret_settings(context: Context) -> dict[str, object]:
    """What only a server has. It counts until the server has a keyring, which it makes when it is started for the first
    time; retired.py brings another key to the keyrings.
    """
    return {"server": {"encrypt": gossip_key(context)}}


def _secrets(context: Context) -> Mapping[str, str]:
    nodes = [node for node in context.platform.nodes if node.role in (Role.CONTROL, Role.APPS)]
    keys = keys_of({f"key of {node.name} in Nomad": member(context, node) for node in nodes})
    return {"key of Nomad's gossip": gossip_key(context), **keys}


SECRETS = Derived(_secrets)
