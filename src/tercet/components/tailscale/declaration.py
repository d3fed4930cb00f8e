"""Tailscale's declaration: port, version and source, log lines, and processes for drills to hit."""

from __future__ import annotations

from tercet.inventory.base import Model
from tercet.inventory.components import ComponentDeclaration, Cost, Process
from tercet.inventory.journals import UnitJournal
from tercet.inventory.platform import Role
from tercet.inventory.shapes import Port, Source, Version


class TailscalePorts(Model):
    tailscale: Port = 41641
    """WireGuard over UDP, on every node."""


class TailscaleVersion(Model):
    tailscale: Version = "1.98.10"


class TailscaleSource(Model):
    tailscale: Source = "auto"


DECLARATION = ComponentDeclaration(
    components=("component:Tailscale", "addresses:Addresses"),
    programs=("programs:TAILSCALE",),
    versions=TailscaleVersion,
    sources=TailscaleSource,
    ports=TailscalePorts,
    proof="proof:proof",
    journals=(UnitJournal("tailscaled.service", "tailscale"),),
    processes=(
        Process(
            "tailscaled",
            "tailscaled.service",
            (Role.CONTROL, Role.APPS, Role.DB),
            (Cost.APPLICATIONS, Cost.DATABASES),
        ),
    ),
    listens=(Role.CONTROL, Role.APPS, Role.DB),
)
