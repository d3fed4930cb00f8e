"""The daemon that ends a unit that answers nobody (nodeside/hungwatch.py)."""

from __future__ import annotations

from collections.abc import Iterable

from tercet.components.guard.component import SUPERVISED, daemon
from tercet.converge.resources import Resource

POSTGRESQL = bytes.fromhex("0000000804d2162f")
"""SSLRequest of PostgreSQL's protocol 3.0, which every server answers at once, before anyone logs in."""
HTTP = b"HEAD / HTTP/1.0\r\n\r\n"
"""Any HTTP server answers this, at least with an error."""


def hungwatch(
    name: str, title: str, unit: str, port: int, hello: bytes, *, looks: int, pause_s: float, whole: bool = False
) -> Iterable[Resource]:
    """`tercet-NAME.service`. It kills `unit` after so many `looks` in a row that last a second each without an answer,
    `pause_s` seconds apart; with `whole` all processes of the unit, else the main one."""
    config: dict[str, object] = {
        "unit": unit,
        "port": port,
        "hello": hello.hex(),
        "looks": looks,
        "pause_s": pause_s,
        "whom": "all" if whole else "main",
    }
    yield from daemon(name, title, config, runs="hungwatch", modules=("host",), service=SUPERVISED)
