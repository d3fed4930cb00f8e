"""The token of Nomad, derived from a generated secret, because Nomad wants a UUID."""

from __future__ import annotations

from tercet.components.nomad.declaration import SEED
from tercet.inventory.secrets import Secrets


def management(secrets: Secrets) -> str:
    """The token that may do everything."""
    return secrets.derived_uuid(SEED, "management")
