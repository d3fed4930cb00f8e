"""The inventory's JSON Schema (draft 2020-12), for completion and checks in an editor.

It describes single values; only `tercet validate` checks what must hold between them.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema

from tercet.inventory.model import inventory_model


class _WithoutTitles(GenerateJsonSchema):
    """Leaves out titles, which are only the names of fields."""

    def field_title_should_be_set(self, schema: CoreSchema | Any) -> bool:
        return False


def schema() -> dict[str, Any]:
    """The schema as plain data."""
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **inventory_model().model_json_schema(schema_generator=_WithoutTitles),
        "title": "tercet inventory",
    }
