"""Pydantic's errors in the operator's terms: what was expected, what was found, what to write instead."""

from __future__ import annotations

from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from tercet.inventory.document import Data, Document, value_at
from tercet.inventory.model import inventory_model
from tercet.inventory.problems import Finding, Location, quoted
from tercet.inventory.providers import declarations

_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
    "tuple_type": "a list",
    "path_type": "a path",
}


def explain(error: ErrorDetails, document: Document) -> Finding:
    """One validation error of `Inventory` as a finding."""
    at = tuple(error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key(at)
        case "missing":
            return _missing(at, document)
    value = value_at(document.data, at)
    text = document.place(at).text
    # A number is shown as it was written: 1.10 is not 1.1. Text is shown in quotes.
    found = quoted(value) if isinstance(value, str) or not text else text
    if error["type"] == "too_long" and isinstance(value, list):
        found = f"{len(value)} items"
    if error.get("ctx", {}).get("hidden"):
        found = "something else, which is not shown here"
    return Finding(at, _expected(error), found, _write(error, at, value, text))


def _field(location: Location) -> FieldInfo | None:
    """The field of the inventory's models at a location; None for an item of a list or mapping."""
    return _walk(location)[0]


def _keys(location: Location) -> tuple[str, ...]:
    """The keys that the mapping at a location may have; empty if there is no mapping or if any key is allowed."""
    model = _walk(location)[1]
    return tuple(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else ()


def _walk(location: Location) -> tuple[FieldInfo | None, Any]:
    """The field at a location and its bare type."""
    found: FieldInfo | None = None
    here: Any = inventory_model()
    for part in location:
        if isinstance(here, type) and issubclass(here, BaseModel):
            found = here.model_fields.get(str(part))
            here = _bare(found.annotation) if found else None
        else:
            inner = get_args(here)  # of tuple[X, ...], or of dict[str, X]
            found = None
            here = _bare(inner[-1] if get_origin(here) is dict else inner[0]) if inner else None
    return found, here


def _bare(annotation: Any) -> Any:
    """The type without Annotated and without None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return _bare(kinds[0])
    return annotation


def meant(at: Location) -> str | None:
    """The key that was probably meant instead of the unknown one at a location."""
    close = get_close_matches(str(at[-1]).lower().replace("-", "_"), _keys(at[:-1]), n=1)
    return close[0] if close else None


def _unknown_key(at: Location) -> Finding:
    moved: dict[Location, str] = {(each.name, key): now for each in declarations() for key, now in each.moved.items()}
    if now := moved.get(at):
        expected, write = f"the key {now} at the top level", f"the same under `{now}:`, at the start of a line"
        return Finding(at, expected, ".".join(map(str, at)), write, on_key=True)
    known = ", ".join(_keys(at[:-1]))
    close = meant(at)
    write = f"{close}: (did you mean this?)" if close else "one of these, or remove the line"
    return Finding(at, f"one of the keys {known}", quoted(str(at[-1])), write, on_key=True)


def _missing(at: Location, document: Document) -> Finding:
    found = _field(at)
    if found is None:  # an item of a list of fixed length
        at = at[:-1]
        items = value_at(document.data, at)
        count = len(items) if isinstance(items, list) else 0
        said = f"{count} item{'' if count == 1 else 's'}"
        return Finding(at, "a list of exactly 2 items", said, _example(at) or "both items")
    return Finding(at, f"the key {at[-1]}", "none", _example(at) or f"{at[-1]}: …")


def _example(at: Location) -> str:
    found = _field(at)
    if found is None or not (found.examples or found.is_required()):
        return ""
    if not found.examples:
        item = _example_item((*at, 0))
        return f"{at[-1]}: and below it items such as {item}" if item else ""
    return f"{at[-1]}: {_plain(found.examples[0])}"


def _example_item(at: Location) -> str:
    """The shortest valid item of a list of mappings."""
    model = _walk(at)[1]
    if not at or isinstance(at[-1], str) or not (isinstance(model, type) and issubclass(model, BaseModel)):
        return ""
    required = (key for key, field in model.model_fields.items() if field.is_required())
    return f"- {{{', '.join(_example((*at, key)) for key in required)}}}"


def _expected(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "shape" | "literal_error":
            return str(context["expected"]).replace("'", "")
        case "too_long":
            return "a list of exactly 2 items"
        case kind if kind in _KINDS:
            return _KINDS[kind]
    message = error["msg"].removeprefix("Input should be ")
    return f"a value {message}" if message != error["msg"] else message


def _write(error: ErrorDetails, at: Location, value: Data, text: str | None) -> str:
    """What to write instead: a corrected value, the same value in another type, an example, or the default."""
    key = f"{at[-1]}: " if at and isinstance(at[-1], str) else ""
    field = _field(at)
    options = [str(option) for option in get_args(_bare(field.annotation))] if field and _literal(field) else []
    close = get_close_matches(str(text).lower(), options, n=1)
    if mended := error.get("ctx", {}).get("write"):
        return f"{key}{mended}"
    if error["type"] == "string_type" and text:
        return f'{key}"{text}"'
    if error["type"] == "int_type" and isinstance(value, str) and value.strip().isdecimal():
        return f"{key}{value.strip()}, without quotes"
    if close:
        return f"{key}{close[0]}"
    if example := _example(at) or _example_item(at):
        return example
    if field is None or field.is_required() or isinstance(field.default, BaseModel | tuple | dict):
        return f"{key}… ({_expected(error)})"
    if field.default is None:
        return f"{_expected(error)}, or remove the line for the default"
    return f"{key}{_plain(field.default)} (the default)"


def _literal(field: FieldInfo) -> bool:
    return get_origin(_bare(field.annotation)) is Literal


def _plain(value: object) -> str:
    """A default or example as it is written in the file."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(str, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'
