"""Tailscale's programs and their sources."""

from __future__ import annotations

from tercet.image.catalog import WRAPPERS, Package
from tercet.image.sources.go_module import GoModule
from tercet.image.sources.tailscale import TailscaleArchive

TAILSCALE = Package(
    "tailscale",
    {"tailscaled": ("--version",), "tailscale": ("version",)},
    {
        "official": TailscaleArchive(),
        # One program that acts as both, depending on its name: half the build time and half the size.
        "go-module": GoModule(
            WRAPPERS / "tailscale",
            "tailscale.com",
            "tailscale.com/cmd/tailscaled",
            tags="ts_include_cli",
            stamps=("tailscale.com/version.longStamp", "tailscale.com/version.shortStamp"),
        ),
    },
)
