"""Nomad's program and its sources."""

from __future__ import annotations

from tercet.image.catalog import WRAPPERS, Package
from tercet.image.sources.go_module import GoModule
from tercet.image.sources.hashicorp import HashiCorp

NOMAD = Package(
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
