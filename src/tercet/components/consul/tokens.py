"""The tokens of Consul, which wants UUIDs; all are derived from one generated secret, which is on no node."""

from __future__ import annotations

from tercet.components.consul.declaration import SEED
from tercet.inventory.secrets import Secrets


def management(secrets: Secrets) -> str:
    """The token that may do everything, also change tokens. The servers and the operators have it."""
    return secrets.derived_uuid(SEED, "management")


def of_node(secrets: Secrets, node: str) -> str:
    """The token of the node's agent, and of every request to this agent that has none. access.py has its rights."""
    return secrets.derived_uuid(SEED, f"node {node}")


def of_agent(secrets: Secrets, node: str) -> str:
    """The token that only the node's agent knows, for requests about itself. It needs no server to check it."""
    return secrets.derived_uuid(SEED, f"agent {node}")


def accessor(secrets: Secrets, node: str) -> str:
    """The identifier of `of_node`, which is not secret."""
    return secrets.derived_uuid(SEED, f"accessor {node}")
