"""Pydantic's errors in the operator's terms: what was expected, what was found, what to write instead."""

from __future__ import annotations

from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from tercet.inventory.document import Document, value_at
from tercet.inventory.model import Inventory
from tercet.inventory.problems import Finding, Location, quoted

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
    """One error of `Inventory`'s validation of the document's data."""
    at = tuple(error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key(at)
        case "missing":
            return _missing(at)
    found = quoted(value_at(document.data, at))
    place = document.places.get(at)
    if place and place.text is not None and place.text:
        found = quoted(place.text)
    return Finding(at, _expected(error), found, _write(error, at, place.text if place else None))


def _field(location: Location) -> FieldInfo | None:
    """The field of the inventory's models at a location; None for an item of a list or mapping."""
    return _walk(location)[0]


def _keys(location: Location) -> tuple[str, ...]:
    """The keys that the mapping at a location may have; empty where it is none or they are free."""
    model = _walk(location)[1]
    return tuple(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else ()


def _walk(location: Location) -> tuple[FieldInfo | None, Any]:
    """The field at a location and the bare type there."""
    found: FieldInfo | None = None
    here: Any = Inventory
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
    """The type itself: without Annotated, and without None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return _bare(kinds[0])
    return annotation


def meant(at: Location) -> str | None:
    """The key that was probably meant by the unknown one at a location."""
    close = get_close_matches(str(at[-1]).lower().replace("-", "_"), _keys(at[:-1]), n=1)
    return close[0] if close else None


def _unknown_key(at: Location) -> Finding:
    known = ", ".join(_keys(at[:-1]))
    close = meant(at)
    write = f"{close}: (did you mean this?)" if close else "one of these, or remove the line"
    return Finding(at, f"one of the keys {known}", quoted(str(at[-1])), write, on_key=True)


def _missing(at: Location) -> Finding:
    found = _field(at)
    if found is None:  # an item of a list of fixed length
        at = at[:-1]
        return Finding(at, "a list of exactly 2 items", "fewer", _example(at) or "both items")
    return Finding(at, f"the key {at[-1]}", "none", _example(at) or f"{at[-1]}: …")


def _example(at: Location) -> str:
    found = _field(at)
    if found is None or not found.examples:
        return ""
    return f"{at[-1]}: {_yaml(found.examples[0])}"


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


def _write(error: ErrorDetails, at: Location, text: str | None) -> str:
    """The best line to write instead: a mended value, the same in quotes, an example, or the default."""
    key = f"{at[-1]}: " if at and isinstance(at[-1], str) else ""
    context = error.get("ctx", {})
    if context.get("write"):
        return f"{key}{_yaml(context['write'])}"
    if error["type"] == "string_type" and text:
        return f'{key}"{text}"'
    found = _field(at)
    if found is None:
        return f"{key}{_expected(error)}" if not at or error["type"] != "shape" else f"{key}a value of that shape"
    options = [str(option) for option in get_args(found.annotation)] if _is_literal(found) else []
    if text and (close := get_close_matches(text.lower(), options, n=1)):
        return f"{key}{close[0]}"
    if example := _example(at):
        return example
    if found.default is PydanticUndefined or isinstance(found.default, BaseModel | tuple | dict):
        return f"{key}{_expected(error)}" if not key else f"{key.strip()} with {_expected(error)} below it"
    if found.default is None:
        return f"{_expected(error)}, or remove the line for the default"
    return f"{key}{_yaml(found.default)} (the default)"


def _is_literal(found: FieldInfo) -> bool:
    return get_origin(_bare(found.annotation)) is Literal


def _yaml(value: object) -> str:
    """A default or example as it would stand in the file."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value)
