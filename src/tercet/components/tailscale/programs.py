"""Tailscale's programs, and where they can be had."""

from __future__ import annotations

from tercet.image.catalog import WRAPPERS, Component
from tercet.image.sources.go_module import GoModule
from tercet.image.sources.tailscale import TailscaleArchive

TAILSCALE = Component(
    "tailscale",
    {"tailscaled": ("--version",), "tailscale": ("version",)},
    {
        "official": TailscaleArchive(),
        # One program that is both, by the name it is called with: half the build, and half the size.
        "go-module": GoModule(
            WRAPPERS / "tailscale",
            "tailscale.com",
            "tailscale.com/cmd/tailscaled",
            tags="ts_include_cli",
            stamps=("tailscale.com/version.longStamp", "tailscale.com/version.shortStamp"),
        ),
    },
)
