"""Detects that this control node was restored from an older copy of itself (`tercet-rollback.service`).

A Raft server must never forget what it voted for and what it confirmed. A server that was restored from a snapshot has
forgotten it. If another server is down at that time, decisions made since the snapshot can be undone. Raft itself does
not notice this, so the node keeps the same count in two places: in a file and in `dcs`, where the other sites store it.
On a restored node, the file is behind. A node without the file is new, and has forgotten nothing.

The finding is kept in a separate file until somebody removes it.

Argument: a JSON file {"dcs": endpoint, "key": …, "count": FILE, "mark": FILE}.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tercet.nodeside.api import Api, ApiError
from tercet.nodeside.endpoint import Endpoint

EVERY_S = 20.0  # seconds; a copy that is younger than this may not be detected
ASK_S = 5.0


class Store:
    """The count that `dcs` keeps."""

    def __init__(self, dcs: Endpoint, key: str) -> None:
        self._agent, self._path = Api(dcs, keep=True), f"/v1/kv/{key}"

    def known(self) -> int | None:
        """The count; 0 if there is none, None if `dcs` does not answer."""
        try:
            found = self._agent.ask("GET", f"{self._path}?consistent", timeout=ASK_S).json()
            return int(base64.b64decode(found[0]["Value"])) if found is not None else 0
        except (ApiError, ValueError, TypeError, LookupError):
            return None

    def tell(self, count: int) -> None:
        with suppress(ApiError):  # `dcs` is behind until the next time, which is not a sign of a rollback
            self._agent.ask("PUT", self._path, str(count).encode(), timeout=ASK_S)


def own(count: Path) -> int | None:
    """The count on this node; None if it has none."""
    try:
        return int(count.read_text())
    except (OSError, ValueError):
        return None


def keep(path: Path, text: str) -> None:
    """Write the whole file. It is on the disk when this returns."""
    new = path.with_suffix(".new")
    with open(new, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


def poll(store: Store, count: Path, mark: Path) -> None:
    """Compare, then increment: first here, so that a node that stops in between is never behind."""
    elsewhere = store.known()
    if elsewhere is None:
        return
    here = own(count)
    if here is not None and here < elsewhere:
        lost = (elsewhere - here) * EVERY_S
        print(f"restored from a copy that is at least {lost:.0f} s older", flush=True)
        keep(mark, f"{lost:.0f}\n")
    here = max(here or 0, elsewhere) + 1
    keep(count, f"{here}\n")
    store.tell(here)


def main(config: dict[str, Any]) -> None:
    store = Store(Endpoint(**config["dcs"]), config["key"])
    count, mark = Path(config["count"]), Path(config["mark"])
    count.parent.mkdir(parents=True, exist_ok=True)
    while True:
        poll(store, count, mark)
        time.sleep(EVERY_S)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
