"""The document that scanners read. Its published schema is not here, so its shape is checked by hand."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import UUID

import pytest

from tercet.image.cyclonedx import document
from tercet.image.parts import Kind, Part

PARTS = (
    Part(
        Kind.PROGRAM,
        "consul",
        "1.22.7",
        "github.com/hashicorp/consul@v1.22.7, built with go1.26.8",
        "pkg:golang/github.com/hashicorp/consul@v1.22.7",
        "a" * 64,
        "https://proxy.golang.org/github.com/hashicorp/consul/@v/v1.22.7.zip",
    ),
    Part(Kind.DEBIAN, "jq:amd64", "1.7", "http://deb.debian.org", "pkg:deb/debian/jq@1.7?arch=amd64"),
    Part(Kind.PYTHON, "click", "8.5", "https://pypi.org", "pkg:pypi/click@8.5", "b" * 64, "https://x.example/c.whl"),
)


def made(later: dict[tuple[Kind, str], str] | None = None) -> dict[str, Any]:
    return json.loads(document("0123456789abcdef", "amd64", "0.1.0", PARTS, later or {}))


def test_the_document_is_this() -> None:
    """A golden document: its form is an interface."""
    bom = made({(Kind.DEBIAN, "jq:amd64"): "1.8"})
    del bom["serialNumber"]
    assert bom == {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "tercet", "version": "0.1.0"}]},
            "component": {
                "type": "container",
                "bom-ref": "image:0123456789abcdef",
                "name": "tercet-image",
                "version": "0123456789abcdef",
                "properties": [{"name": "tercet:arch", "value": "amd64"}],
            },
        },
        "components": [
            {"type": "application", "bom-ref": "tercet:0.1.0", "name": "tercet", "version": "0.1.0"},
            {
                "type": "application",
                "bom-ref": "program:consul",
                "name": "consul",
                "version": "1.22.7",
                "purl": "pkg:golang/github.com/hashicorp/consul@v1.22.7",
                "hashes": [{"alg": "SHA-256", "content": "a" * 64}],
                "externalReferences": [{"type": "distribution", "url": PARTS[0].url}],
                "properties": [
                    {"name": "tercet:kind", "value": "program"},
                    {"name": "tercet:source", "value": "github.com/hashicorp/consul@v1.22.7, built with go1.26.8"},
                ],
            },
            {
                "type": "library",
                "bom-ref": "debian:jq:amd64",
                "name": "jq",
                "version": "1.7",
                "purl": "pkg:deb/debian/jq@1.7?arch=amd64",
                "properties": [
                    {"name": "tercet:kind", "value": "debian"},
                    {"name": "tercet:source", "value": "http://deb.debian.org"},
                    {"name": "tercet:later", "value": "1.8"},
                ],
            },
            {
                "type": "library",
                "bom-ref": "python:click",
                "name": "click",
                "version": "8.5",
                "purl": "pkg:pypi/click@8.5",
                "hashes": [{"alg": "SHA-256", "content": "b" * 64}],
                "externalReferences": [{"type": "distribution", "url": "https://x.example/c.whl"}],
                "properties": [
                    {"name": "tercet:kind", "value": "python"},
                    {"name": "tercet:source", "value": "https://pypi.org"},
                ],
            },
        ],
        "dependencies": [
            {"ref": "image:0123456789abcdef", "dependsOn": ["program:consul", "debian:jq:amd64"]},
            {"ref": "tercet:0.1.0", "dependsOn": ["python:click"]},
        ],
    }


def test_the_same_parts_give_the_same_bytes_and_others_another_serial_number() -> None:
    first = document("k", "amd64", "0.1.0", PARTS, {})
    assert first == document("k", "amd64", "0.1.0", list(PARTS), {}) and first.endswith("}\n")
    others = (
        document("k2", "amd64", "0.1.0", PARTS, {}),
        document("k", "amd64", "0.1.0", PARTS[1:], {}),
        document("k", "amd64", "0.1.0", PARTS, {(Kind.PROGRAM, "consul"): "2.0.0"}),
    )
    assert len({json.loads(text)["serialNumber"] for text in (first, *others)}) == 4


@pytest.mark.parametrize("later", [{}, {(Kind.PROGRAM, "consul"): "1.23.0"}])
def test_what_the_specification_requires_of_a_document(later: dict[tuple[Kind, str], str]) -> None:
    bom = made(later)
    assert (bom["bomFormat"], bom["specVersion"], bom["version"]) == ("CycloneDX", "1.6", 1)
    prefix, _, serial = bom["serialNumber"].rpartition(":")
    assert prefix == "urn:uuid" and UUID(serial).version == 5
    components = [bom["metadata"]["component"], *bom["components"]]
    refs = [component["bom-ref"] for component in components]
    assert len(set(refs)) == len(refs)
    for component in components:
        assert component["type"] in {"application", "library", "container"} and component["name"]
        assert re.match(r"pkg:[a-z]+/", component.get("purl", "pkg:generic/"))
        assert all(re.fullmatch("[0-9a-f]{64}", each["content"]) for each in component.get("hashes", ()))
    for dependency in bom["dependencies"]:
        assert {dependency["ref"], *dependency["dependsOn"]} <= set(refs)
