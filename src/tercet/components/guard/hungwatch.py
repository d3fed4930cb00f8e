"""The daemon that ends a unit that does not answer (nodeside/hungwatch.py)."""

from __future__ import annotations

from collections.abc import Iterable

from tercet.components.guard.component import SUPERVISED, daemon
from tercet.converge.resources import Resource

POSTGRESQL = bytes.fromhex("0000000804d2162f")
"""SSLRequest of PostgreSQL's protocol 3.0, which every server answers at once, before a login."""
HTTP = b"HEAD / HTTP/1.0\r\n\r\n"
"""Every HTTP server answers this, at least with an error."""


def hungwatch(
    name: str, title: str, unit: str, port: int, hello: bytes, *, looks: int, pause_s: float, whole: bool = False
) -> Iterable[Resource]:
    """`tercet-NAME.service`. It kills `unit` after `looks` in a row without an answer. A look lasts up to a second, and
    looks are `pause_s` seconds apart. With `whole`, it kills all processes of the unit, otherwise the main one.
    """
    config: dict[str, object] = {
        "unit": unit,
        "port": port,
        "hello": hello.hex(),
        "looks": looks,
        "pause_s": pause_s,
        "whom": "all" if whole else "main",
    }
    yield from daemon(name, title, config, runs="hungwatch", modules=("host",), service=SUPERVISED)
