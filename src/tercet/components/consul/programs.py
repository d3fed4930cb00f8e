"""Consul's program and its sources."""

from __future__ import annotations

from tercet.image.catalog import WRAPPERS, Component
from tercet.image.sources.go_module import GoModule
from tercet.image.sources.hashicorp import HashiCorp

CONSUL = Component(
    "consul",
    {"consul": ("version",)},
    {
        "official": HashiCorp("consul"),
        "go-module": GoModule(WRAPPERS / "consul", "github.com/hashicorp/consul", "github.com/hashicorp/consul"),
    },
)
