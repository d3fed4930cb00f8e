"""Reads shell scripts, templates and SQL, which are separate files next to the module that uses them."""

from __future__ import annotations

import re
from importlib.resources import files

_PLACEHOLDER = re.compile("@([A-Z][A-Z_]*)@")


def text_of(package: str, name: str, **values: object) -> str:
    """The text of a file of that package, with @DATA@ replaced by the value that is given as DATA.

    The file must use exactly the values that are given. A value is inserted without quotes, so it must not need any, or
    have them: a path, a number, the name of a unit, the words of a command.
    """
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    named = set(_PLACEHOLDER.findall(text))
    if named != values.keys():
        raise ValueError(f"expected {name} to name {sorted(values)}, found {sorted(named)}")
    return _PLACEHOLDER.sub(lambda found: str(values[found[1]]), text)
