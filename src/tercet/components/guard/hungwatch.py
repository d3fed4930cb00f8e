"""The daemon that ends a unit that does not answer (nodeside/hungwatch.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tercet.components.guard.component import CLIENT, SUPERVISED, daemon
from tercet.converge.resources import Resource
from tercet.nodeside.endpoint import Endpoint

Look = Mapping[str, Any]
"""How the daemon looks whether the unit answers."""


def postgresql(port: int) -> Look:
    """With an SSLRequest of PostgreSQL's protocol 3.0, which every server answers at once, before a login."""
    return {"port": port, "hello": "0000000804d2162f"}


def api(at: Endpoint) -> Look:
    """With a GET of "/", which every HTTP server answers, at least with an error."""
    return {"api": at._asdict()}


def hungwatch(
    name: str, title: str, unit: str, look: Look, *, looks: int, pause_s: float, whole: bool = False
) -> Iterable[Resource]:
    """`tercet-NAME.service`. It kills `unit` after `looks` in a row without an answer. A look lasts up to a second, and
    looks are `pause_s` seconds apart. With `whole`, it kills all processes of the unit, otherwise the main one.
    """
    config: dict[str, object] = {
        "unit": unit,
        **look,
        "looks": looks,
        "pause_s": pause_s,
        "whom": "all" if whole else "main",
    }
    yield from daemon(name, title, config, runs="hungwatch", modules=(*CLIENT, "host"), service=SUPERVISED)
