"""What is written does not depend on the machine that writes it."""

from __future__ import annotations

import pytest
import yaml

from tercet.components import text

WORDS = (
    "a: b",
    "- x",
    "on",
    "1e3",
    "0o7",
    "~",
    "#x",
    " x ",
    "two\nlines\n",
    "é😀\u2028",
    "x" * 200,
    "word " * 40,
    "'q'",
    "",
)
DATA = {"words": list(WORDS), **{f"k{i}": word for i, word in enumerate(WORDS)}, "n": [None, True, 3, 2.5, {}, []]}


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml here")
def test_both_emitters_of_yaml_write_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = text.as_yaml(DATA)
    monkeypatch.setattr(text, "_DUMPER", yaml.SafeDumper)
    assert text.as_yaml(DATA) == fast
    assert yaml.safe_load(fast) == DATA
