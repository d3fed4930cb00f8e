"""The programs of the proxy on apps nodes and their sources."""

from __future__ import annotations

from tercet.image.catalog import WRAPPERS, Package
from tercet.image.sources.go_module import GoModule
from tercet.image.sources.hashicorp import HashiCorp
from tercet.image.sources.oci_image import OciImage

CONSUL_TEMPLATE = Package(
    "consul-template",
    {"consul-template": ("-version",)},
    {
        "official": HashiCorp("consul-template"),
        "go-module": GoModule(
            WRAPPERS / "consul-template", "github.com/hashicorp/consul-template", "github.com/hashicorp/consul-template"
        ),
    },
)

PGCAT = Package(
    "pgcat",
    {"pgcat": ("--version",)},
    {"oci-image": OciImage("postgresml/pgcat", {"5b03881": "5b038813eb14f181434ab7b5509e74d9b1fe123b"})},
    proxy="pgcat",
)
