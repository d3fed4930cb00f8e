"""Writes parts as a CycloneDX 1.6 document (ECMA-424), in JSON.

The same parts give the same bytes: the document has no time, and its serial number is computed from its content.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from tercet.image.parts import Kind, Part

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
TYPES = {Kind.PROGRAM: "application", Kind.DEBIAN: "library", Kind.PYTHON: "library"}
Later = Mapping[tuple[Kind, str], str]
"""Known later versions, by the kind and name of a part."""


def document(key: str, arch: str, tercet: str, parts: Iterable[Part], later: Later) -> str:
    """The document as text. `key` identifies the image, `tercet` is the version of this tool."""
    parts = list(parts)
    image, tool = f"image:{key}", f"tercet:{tercet}"
    bom: dict[str, Any] = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "tercet", "version": tercet}]},
            "component": {
                "type": "container",
                "bom-ref": image,
                "name": "tercet-image",
                "version": key,
                "properties": [_property("arch", arch)],
            },
        },
        "components": [
            {"type": "application", "bom-ref": tool, "name": "tercet", "version": tercet},
            *(_component(part, later) for part in parts),
        ],
        "dependencies": [
            {"ref": image, "dependsOn": [_ref(part) for part in parts if part.kind is not Kind.PYTHON]},
            {"ref": tool, "dependsOn": [_ref(part) for part in parts if part.kind is Kind.PYTHON]},
        ],
    }
    serial = uuid5(NAMESPACE_URL, json.dumps(bom, sort_keys=True))
    return json.dumps({**bom, "serialNumber": f"urn:uuid:{serial}"}, indent=2, ensure_ascii=False) + "\n"


def _component(part: Part, later: Later) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": TYPES[part.kind],
        "bom-ref": _ref(part),
        "name": part.name.rpartition(":")[0] if part.kind is Kind.DEBIAN else part.name,
        "version": part.version,
        "purl": part.purl,
    }
    if part.sha256:
        made["hashes"] = [{"alg": "SHA-256", "content": part.sha256}]
    if part.url:
        made["externalReferences"] = [{"type": "distribution", "url": part.url}]
    made["properties"] = [_property("kind", part.kind.value), _property("source", part.source)]
    if newer := later.get((part.kind, part.name)):
        made["properties"].append(_property("later", newer))
    return made


def _ref(part: Part) -> str:
    return f"{part.kind.value}:{part.name}"


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": f"tercet:{name}", "value": value}
