"""The inventory's JSON Schema (draft 2020-12), for completion and checks in an editor.

It holds the shapes of values; what must hold between them only `tercet validate` knows.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import ModelSchema

from tercet.inventory.base import Model
from tercet.inventory.model import Inventory


class _Described(GenerateJsonSchema):
    """Each field with its docstring. No titles: made of field names, they tell an editor nothing.

    Pydantic can read the docstrings itself, but does so wherever the models are imported: 0.02 s of every command.
    """

    def field_title_should_be_set(self, schema: CoreSchema | Any) -> bool:
        return False

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        described = super().model_schema(schema)
        for model in schema["cls"].__mro__:
            if issubclass(model, Model) and model is not Model:
                for name, text in _docstrings(model):
                    described["properties"][name].setdefault("description", text)
        return described


def _docstrings(model: type[Model]) -> Iterator[tuple[str, str]]:
    """The fields that a model's class defines itself, each with the text below it."""
    (definition,) = ast.parse(inspect.getsource(model)).body
    if not isinstance(definition, ast.ClassDef):
        raise TypeError(f"{model} is no class of a module")
    for field, text in pairwise(definition.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                yield name, inspect.cleandoc(words)


def schema() -> dict[str, Any]:
    """The schema as plain data."""
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **Inventory.model_json_schema(schema_generator=_Described),
        "title": "tercet inventory",
    }
