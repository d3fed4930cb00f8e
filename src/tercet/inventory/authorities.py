"""Replaces certificate authorities while a platform runs, in three rounds of `apply`, because each node must trust the
certificates of all others at any time:

1. Both authorities are trusted, and the present one signs (`begin`).
2. Both are trusted, and the following one signs (`advance`).
3. Only the following one is trusted (`advance`).

The operator's file says how far this is. The next round may begin when every node has the last one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from tercet.inventory.secrets import Secrets, replaceable, rewrite

BEGUN, SIGNING = "begun", "signing"


def begin(path: Path, chosen: Collection[str]) -> None:
    """Make a following authority for each of these names, unless there is one. Raises TercetError as
    `secrets.load_or_create` does.
    """
    from tercet.inventory.certificates import make_authority  # noqa: PLC0415 - the library takes long to import

    def change(values: dict[str, str]) -> Mapping[str, str]:
        for each in replaceable():
            if each.name in chosen and each.next_keys[0] not in values:
                made = make_authority(each.title, each.host)
                values |= dict(zip(each.next_keys, (made.certificate, made.key), strict=True))
        return values

    rewrite(path, change)


def replaced(secrets: Secrets) -> dict[str, str]:
    """The authorities that are being replaced, by name: BEGUN in the first round, SIGNING in the second."""
    signing = {each.name: SIGNING for each in replaceable() if each.former_key in secrets.texts}
    return signing | {each.name: BEGUN for each in replaceable() if each.next_keys[0] in secrets.texts}


def following(secrets: Secrets) -> dict[str, str]:
    """The values that `advance` gives to keys of the file."""
    return {
        key: secrets.texts[following]
        for each in replaceable()
        for key, following in zip(each.keys, each.next_keys, strict=True)
        if following in secrets.texts
    }


def advance(path: Path) -> None:
    """Go on to the next round, for all authorities that are being replaced. Raises TercetError as
    `secrets.load_or_create` does.
    """

    def change(values: dict[str, str]) -> Mapping[str, str]:
        for each in replaceable():
            if each.next_keys[0] in values:
                values[each.former_key] = values[each.keys[0]]
                values |= {key: values.pop(following) for key, following in zip(each.keys, each.next_keys, strict=True)}
            else:
                values.pop(each.former_key, None)
        return values

    rewrite(path, change)
