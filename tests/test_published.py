"""The schemas in docs/ are those of the code. `make generated` writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tercet.drills import journal
from tercet.inventory.schema import schema
from tercet.observe.snapshot import snapshot_model

DOCS = Path(__file__).parents[1] / "docs"
PUBLISHED: dict[str, Callable[[], str]] = {
    "tercet.schema.json": lambda: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
    "status.schema.json": lambda: json.dumps(snapshot_model().model_json_schema(), indent=2) + "\n",
    "journal.schema.json": journal.schema_text,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_schema_is_current(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PUBLISHED[name](), "run `make generated`"


if __name__ == "__main__":
    for name, text in PUBLISHED.items():
        (DOCS / name).write_text(text(), encoding="utf-8")
