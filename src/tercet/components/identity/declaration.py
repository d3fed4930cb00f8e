"""The declaration of what identifies a platform and its nodes. It has no settings."""

from __future__ import annotations

from tercet.inventory.components import ComponentDeclaration

DECLARATION = ComponentDeclaration(
    components=("fingerprint:Fingerprint", "membership:Membership"), status=("status:CERTIFICATES",)
)
