"""headscale's declaration: version and source, and its secrets."""

from __future__ import annotations

from tercet.inventory.base import Model
from tercet.inventory.components import ComponentDeclaration
from tercet.inventory.generated import Authority, Certificate
from tercet.inventory.shapes import Source, Version

HOSTNAME = "headscale.lab"
AUTHORITY = Authority("lab_ca", "tercet lab", HOSTNAME)
CERTIFICATE = Certificate("lab_headscale", AUTHORITY)


class HeadscaleVersion(Model):
    headscale: Version = "0.29.2"
    """Lab only: Tailscale's control server."""


class HeadscaleSource(Model):
    headscale: Source = "auto"
    """Lab only: Tailscale's control server."""


DECLARATION = ComponentDeclaration(
    components=("component:Headscale",),
    of_the_world=True,
    programs=("programs:HEADSCALE",),
    versions=HeadscaleVersion,
    sources=HeadscaleSource,
    secrets=(AUTHORITY, CERTIFICATE),
)
