"""headscale's program and its sources."""

from __future__ import annotations

from tercet.image.catalog import WRAPPERS, Package
from tercet.image.sources.go_module import GoModule
from tercet.image.sources.headscale import HeadscaleRelease

HEADSCALE = Package(
    "headscale",
    {"headscale": ("version",)},
    {
        "official": HeadscaleRelease(),
        "go-module": GoModule(
            WRAPPERS / "headscale", "github.com/juanfont/headscale", "github.com/juanfont/headscale/cmd/headscale"
        ),
    },
)
