"""The components that tercet brings itself: their programs, and where each can be had. A new one is an entry here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tercet.errors import TercetError
from tercet.image.sources.go_module import GoModule
from tercet.image.sources.hashicorp import HashiCorp
from tercet.image.sources.headscale import HeadscaleRelease
from tercet.image.sources.oci_image import OciImage
from tercet.image.sources.path import LocalPath
from tercet.image.sources.source import Source
from tercet.image.sources.tailscale import TailscaleArchive
from tercet.inventory.model import Inventory

WRAPPERS = Path(__file__).parent / "gomod"

Proxy = Literal["pgcat", "pgpool"]


@dataclass(frozen=True, slots=True)
class Component:
    """`programs` maps each program to the arguments with which it prints its version. `sources` in auto's order."""

    name: str
    programs: Mapping[str, tuple[str, ...]]
    sources: Mapping[str, Source] = field(repr=False)

    @property
    def key(self) -> str:
        """Its name in the inventory's `versions` and `sources`."""
        return self.name.replace("-", "_")

    def version(self, inventory: Inventory) -> str:
        return str(getattr(inventory.versions, self.key))

    def requested(self, inventory: Inventory) -> str:
        return str(getattr(inventory.sources, self.key))

    def candidates(self, requested: str) -> Mapping[str, Source]:
        """The sources to try for the inventory's word, in order. Raises TercetError for a word that means nothing."""
        if requested == "auto":
            return self.sources
        if (own := LocalPath.of(requested)) is not None:
            return {"path": own}
        if requested in self.sources:
            return {requested: self.sources[requested]}
        known = ", ".join(("auto", *self.sources, "path:/…"))
        raise TercetError(f"sources.{self.key}: expected one of {known}; found {requested!r}")


CONSUL = Component(
    "consul",
    {"consul": ("version",)},
    {
        "official": HashiCorp("consul"),
        "go-module": GoModule(WRAPPERS / "consul", "github.com/hashicorp/consul", "github.com/hashicorp/consul"),
    },
)

NOMAD = Component(
    "nomad",
    {"nomad": ("version",)},
    {
        "official": HashiCorp("nomad"),
        "go-module": GoModule(
            WRAPPERS / "nomad",
            "github.com/hashicorp/nomad",
            "github.com/hashicorp/nomad",
            tags="release hashicorpmetrics",
            cgo=True,  # the exec driver enters namespaces from C, before Go's runtime starts threads
            unlisted="github.com/hashicorp/nomad/api",
        ),
    },
)

CONSUL_TEMPLATE = Component(
    "consul-template",
    {"consul-template": ("-version",)},
    {
        "official": HashiCorp("consul-template"),
        "go-module": GoModule(
            WRAPPERS / "consul-template", "github.com/hashicorp/consul-template", "github.com/hashicorp/consul-template"
        ),
    },
)

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

HEADSCALE = Component(
    "headscale",
    {"headscale": ("version",)},
    {
        "official": HeadscaleRelease(),
        "go-module": GoModule(
            WRAPPERS / "headscale", "github.com/juanfont/headscale", "github.com/juanfont/headscale/cmd/headscale"
        ),
    },
)

PGCAT = Component(
    "pgcat",
    {"pgcat": ("--version",)},
    {"oci-image": OciImage("postgresml/pgcat", {"5b03881": "5b038813eb14f181434ab7b5509e74d9b1fe123b"})},
)


def components(inventory: Inventory, proxy: Proxy) -> tuple[Component, ...]:
    """What this platform's image must hold: headscale for the lab's world alone, PgCat where it is the proxy."""
    return (
        TAILSCALE,
        CONSUL_TEMPLATE,
        *((HEADSCALE,) if inventory.world else ()),
        CONSUL,
        NOMAD,
        *((PGCAT,) if proxy == "pgcat" else ()),
    )
