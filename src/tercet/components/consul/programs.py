"""Consul's program and its sources."""

from __future__ import annotations

from tercet.image.catalog import WRAPPERS, Package
from tercet.image.sources.go_module import GoModule
from tercet.image.sources.hashicorp import HashiCorp

CONSUL = Package(
    "consul",
    {"consul": ("version",)},
    {
        "official": HashiCorp("consul"),
        "go-module": GoModule(WRAPPERS / "consul", "github.com/hashicorp/consul", "github.com/hashicorp/consul"),
    },
)
