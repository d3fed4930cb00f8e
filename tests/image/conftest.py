"""A vendor on the loopback, programs small enough to write by hand, and a cache of the test's own."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tercet.converge.events import Event
from tercet.image import manifest
from tercet.image.base import ENTRY, base_key, base_tree, definition
from tercet.image.cache import Cache, timestamp
from tercet.image.download import Downloads
from tercet.image.elf import host_arch
from tercet.image.gotools import GoTools
from tercet.image.lock import DebianEntry, LockFile
from tercet.image.progress import Progress
from tercet.image.resolve import Run
from tercet.image.sources.source import Workshop
from tercet.inventory.model import Inventory
from tercet.inventory.platform import Platform

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: programs are tried in a chroot")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# exit(0), in machine code.
CODE = {
    "amd64": b"\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05",  # mov eax, 60; xor edi, edi; syscall
    "arm64": b"\xa8\x0b\x80\xd2\x00\x00\x80\xd2\x01\x00\x00\xd4",  # mov x8, 93; mov x0, 0; svc 0
}
MACHINE = {"amd64": 0x3E, "arm64": 0xB7, "riscv64": 0xF3}


def elf(arch: str | None = None, salt: bytes = b"", kind: int = 2, code: bytes | None = None) -> bytes:
    """The smallest program that Linux runs: an ELF header, one segment, and code that exits with 0."""
    arch = arch or host_arch()
    code = CODE.get(arch, b"") if code is None else code
    start, offset = 0x400000, 64 + 56
    size = offset + len(code)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", kind, MACHINE[arch], 1, start + offset, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, start, start, size, size, 0x1000)
    return ident + header + segment + code + salt


@dataclass
class Reply:
    """How the server answers a path. `breaks_after` bytes the connection ends; after `hangs_after` nothing comes."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    breaks_after: int | None = None
    hangs_after: int | None = None
    ranges: bool = True


class Vendor(ThreadingHTTPServer):
    """Serves `replies` by path (a list of replies is used up one request at a time) and keeps what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: dict[str, Reply | list[Reply] | Callable[[BaseHTTPRequestHandler], Reply]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.closing = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away in the middle is what some tests are about."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def serve(self, path: str, body: bytes, **more: object) -> None:
        self.replies[path] = replace(Reply(body), **more)  # type: ignore[arg-type]

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


class _Handler(BaseHTTPRequestHandler):
    server: Vendor
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        found = self.server.replies.get(self.path, Reply(b"not here", 404))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        reply = found if isinstance(found, Reply) else found(self)
        body, status, headers = reply.body, reply.status, dict(reply.headers)
        asked = self.headers.get("Range", "")
        if asked and reply.ranges and status == 200:
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
            if first >= len(body):
                status, body = 416, b""
            else:
                headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
                status, body = 206, body[first:]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if reply.hangs_after is not None:
            self.wfile.write(body[: reply.hangs_after])
            self.wfile.flush()
            self.server.closing.wait(30)
        elif reply.breaks_after is not None:
            self.wfile.write(body[: reply.breaks_after])
            self.wfile.flush()
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    server = Vendor()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def progress(events: list[Event]) -> Progress:
    return Progress("thing", events.append)


@pytest.fixture
def downloads(cache: Cache) -> Downloads:
    return Downloads(cache.downloads, connect=60.0, stall=60.0)


@pytest.fixture
def workshop(cache: Cache, downloads: Downloads, progress: Progress, tmp_path: Path) -> Workshop:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Workshop(cache, scratch, downloads, GoTools(cache), progress)


@pytest.fixture
def inventory(platform: Platform, cache: Cache) -> Inventory:
    """The default inventory with the test's own cache."""
    return platform.settings.model_copy(update={"cache": cache.root})


def base_in(cache: Cache, **packages: str) -> DebianEntry:
    """A base system of two files in the cache, as if it had been built of these packages just now."""
    now = timestamp() if not cache.images.exists() else f"{len(list(cache.images.iterdir())) + 2100}"
    entry = DebianEntry(definition=definition("trixie", host_arch()), packages=packages, when=now)
    rootfs = base_tree(cache, base_key(entry))
    for name in ("proc", "usr/local/bin", "etc"):
        (rootfs / name).mkdir(parents=True)
    (rootfs / "etc/debian_version").write_text("13.0\n")
    (rootfs.parent / ENTRY).write_text(entry.model_dump_json())
    manifest._write(rootfs.parent)
    return entry


def with_sources(inventory: Inventory, **sources: str) -> Inventory:
    return inventory.model_copy(update={"sources": inventory.sources.model_copy(update=sources)})


@pytest.fixture
def start(cache: Cache, downloads: Downloads, events: list[Event], tmp_path: Path) -> Callable[..., Run]:
    """A new run of the same cache, with this inventory, its lock in `tmp_path`."""

    def run(inventory: Inventory, lock: str = "tercet.lock.json") -> Run:
        return Run(inventory, cache, host_arch(), LockFile(tmp_path / lock), downloads, GoTools(cache), events.append)

    return run
