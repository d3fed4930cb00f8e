"""Removes secrets from text, and proves that none is left. Pure.

There are two methods. Every secret that tercet knows is replaced wherever it occurs, also in its JSON, URL and base64
forms, and each line of a key separately. In addition, everything that looks like a private key, a hashed password or a
tailnet key is replaced. `leaks` searches any bytes for the known secrets.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

from tercet.inventory.secrets import STAND_IN, Secrets

MASK = "********"
KEY_LINE = 32  # characters; a shorter line of a PEM file reveals nothing

LOOKS_SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\bmd5[0-9a-f]{32}\b"
    r"|SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+"
    r"|\b(?:tskey|hskey)-[A-Za-z0-9-]+"
    r"|\b(?:privkey|nodekey-priv):[0-9a-f]{32,}",
    re.DOTALL,
)


def known_secrets(secrets: Secrets, credentials: Mapping[str, str]) -> dict[str, str]:
    """By name: every existing generated secret, and the credentials of the inventory that could be read."""
    return {
        name: value for name, value in {**secrets.texts, **credentials}.items() if value.strip() and value != STAND_IN
    }


@dataclass(frozen=True)
class Redactor:
    """`secrets` by name. Errors may contain only the names."""

    secrets: Mapping[str, str]

    @cached_property
    def _forms(self) -> tuple[tuple[str, str], ...]:
        """(name, form) of each secret, the longest first, so that no part of a form is left that contains another."""
        found = {form: name for name, value in self.secrets.items() for form in forms(value)}
        return tuple((name, form) for form, name in sorted(found.items(), key=lambda pair: -len(pair[0])))

    def clean(self, text: str) -> str:
        """The text without secrets."""
        text = LOOKS_SECRET.sub(MASK, text)
        for _, form in self._forms:
            text = text.replace(form, MASK)
        return text

    def leaks(self, data: bytes) -> list[str]:
        """The names of the secrets that are in these bytes."""
        return sorted({name for name, form in self._forms if form.encode() in data})


def forms(value: str) -> Iterable[str]:
    """The forms in which a secret may be written."""
    plain = value.strip()
    yield plain
    yield json.dumps(plain)[1:-1]
    yield quote(plain, safe="")
    yield b64encode(plain.encode()).decode()
    yield b64encode(value.encode()).decode()
    if "\n" in plain:
        yield from (line for line in plain.splitlines() if len(line) >= KEY_LINE and not line.startswith("-----"))
