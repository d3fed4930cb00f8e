"""Removes the wrong values from an inventory, so that all its errors are reported at once.

The checks between fields need a complete inventory. Values with the wrong type are replaced by their defaults or by
harmless placeholders, and findings that depend on a replaced value are dropped.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tercet.inventory.document import Data, value_at
from tercet.inventory.explain import meant
from tercet.inventory.model import Inventory, inventory_model
from tercet.inventory.problems import Finding, Location


def repaired(data: Data, errors: Iterable[ErrorDetails]) -> tuple[Inventory | None, frozenset[Location]]:
    """The inventory without its wrong values, and their locations; None if too little is left."""
    data = copy.deepcopy(data)
    wrong = set[Location]()
    for error in errors:
        location = tuple(error["loc"])
        wrong.add(_mend(data, location))
        if error["type"] == "extra_forbidden" and (key := meant(location)):
            wrong.add((*location[:-1], key))
    try:
        return inventory_model().model_validate_json(json.dumps(data), strict=True), frozenset(wrong)
    except ValidationError:
        return None, frozenset(wrong)


def rests_on(finding: Finding, wrong: frozenset[Location]) -> bool:
    """Whether the finding depends on a value that is wrong itself, or is inside one."""
    return any(used[: len(bad)] == bad for used in (finding.at, *finding.uses) for bad in wrong)


def _mend(data: Data, location: Location) -> Location:
    """Remove a wrong value, or replace it by a placeholder if a value is required. Returns what was replaced."""
    parent = value_at(data, location[:-1])
    stand_in = _stand_in(location)
    match parent, location[-1:]:
        case dict(), (str(key),):
            parent.pop(key, None)
            if stand_in is not None:
                parent[key] = stand_in
        case list(), (int(index),) if stand_in is not None and index < len(parent):
            parent[index] = stand_in
        case list(), _:  # an item that cannot be replaced by itself
            return _mend(data, location[:-1])
    return location


def _stand_in(location: Location) -> Data:
    """A valid value for a required field; None if there is a default."""
    match location:
        case ("sites",):
            return [_stand_in(("sites", n)) for n in range(3)]
        case ("sites", int(n)):
            return {"name": f"stand-in-{n}", "datacenter": f"stand-in-{n}"}
        case ("sites", int(n), "name" | "datacenter"):
            return f"stand-in-{n}"
        case ("links", int()):
            return {"between": ["stand-in-0", "stand-in-1"], "latency_ms": 0}
        case ("links", int(), "between"):
            return ["stand-in-0", "stand-in-1"]
        case ("links", int(), "latency_ms"):
            return 0
    return None
