"""The image on Proxmox's storages. It is uploaded once to each, and verified before a container is made from it.

The file's name contains the image's key, so each image has its own file. Proxmox accepts only complete uploads and
checks their SHA-256. A file that a crash left incomplete has a different size, and is uploaded again.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from tercet.converge.events import Emit, Event
from tercet.errors import TercetError
from tercet.image.build import Image, export_template
from tercet.providers.proxmox.api import Api, ApiError, TaskFailed
from tercet.providers.proxmox.site import SiteServer

IMPORT_TIMEOUT = 600.0  # seconds for Proxmox to verify the checksum and copy the file to the storage
REPORT_EVERY = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Template:
    """The packed image on this machine."""

    path: Path
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return self.path.name


def volume_of(site: SiteServer, name: str) -> str:
    """The template's name in Proxmox."""
    return f"{site.host.template_storage}:vztmpl/{name}"


async def packed(image: Image, emit: Emit) -> Template:
    """The image as a template. It is packed if the file does not exist."""
    path = await export_template(image, image.archive, emit)
    return Template(path, path.stat().st_size, await asyncio.to_thread(_sha256, path))


async def ensure_template(site: SiteServer, template: Template, emit: Emit) -> str:
    """The volume of the template on the site's storage. It is uploaded if it is missing, incomplete or damaged."""
    api, storage, home = site.api, site.host.template_storage, await site.home()
    volume = volume_of(site, template.name)
    status = await api.get(f"/nodes/{home}/storage/{storage}/status")
    # Several sites may share a storage: the first one sends the file, the others find it.
    async with site.locks[("storage", storage) if status.get("shared") else ("storage", storage, home)]:
        there = await _size_on(api, home, storage, volume)
        if there is not None and there == template.size and await _intact(site, volume, template):
            emit(Event(_phase(site), "done", f"{volume} is there"))
            return volume
        await _room(api, home, storage, template.size, replaces=there or 0)
        await _upload(site, template, home, emit)
    return volume


async def _upload(site: SiteServer, template: Template, home: str, emit: Emit) -> None:
    storage, began = site.host.template_storage, time.monotonic()
    what = f"upload of {template.name} to {storage} of {site.host.site}"

    def report(sent: int) -> None:
        text = f"{sent >> 20} of {template.size >> 20} MiB to {storage}"
        emit(Event(_phase(site), "progress", text, "", time.monotonic() - began, sent / max(1, template.size)))

    fields = {"content": "vztmpl", "checksum-algorithm": "sha256", "checksum": template.sha256}
    with template.path.open("rb") as file:
        source = cast(BinaryIO, Counted(file, report))
        try:
            upid = await site.api.upload(f"/nodes/{home}/storage/{storage}/upload", fields, template.name, source)
            await site.api.finish(upid, what, IMPORT_TIMEOUT)
        except (ApiError, TaskFailed) as error:
            raise _explained(site, template, error) from error
    emit(Event(_phase(site), "done", f"{template.name} is on {storage}", "", time.monotonic() - began))


async def _size_on(api: Api, node: str, storage: str, volume: str) -> int | None:
    """The size of the volume on the storage, in bytes; None if it does not exist."""
    content: list[dict[str, Any]] = await api.get(f"/nodes/{node}/storage/{storage}/content", content="vztmpl")
    return next((int(item.get("size", 0)) for item in content if item.get("volid") == volume), None)


async def _room(api: Api, node: str, storage: str, size: int, *, replaces: int) -> None:
    """Raise TercetError unless the storage accepts templates and has room for one of `size` bytes."""
    status = await api.get(f"/nodes/{node}/storage/{storage}/status")
    if "vztmpl" not in str(status.get("content", "")).split(","):
        raise TercetError(
            f"expected the storage {storage} of {node} to take container templates, found the content types "
            f"{status.get('content') or 'none'}: add them (pvesm set {storage} --content vztmpl,…), or name another "
            "at `template_storage`"
        )
    available = int(status.get("avail", 0)) + replaces
    if available < size:
        raise TercetError(
            f"expected room for the image's {size >> 20} MiB on the storage {storage} of {node}, found "
            f"{available >> 20} MiB: make room, or name another storage at `template_storage`. Nothing was uploaded"
        )


async def _intact(site: SiteServer, volume: str, template: Template) -> bool:
    """Check on the server, which knows the path, that the file has the template's SHA-256."""
    server = await site.ssh()
    argv = ("sh", "-c", 'sha256sum "$(pvesm path "$0")"', volume)
    done = await server.run(server.command(argv), timeout=IMPORT_TIMEOUT)
    if done.status != 0:
        words = done.stderr.decode(errors="replace").strip()
        raise TercetError(f"expected {server.name} to read {volume}, found: {words or f'status {done.status}'}")
    return done.stdout.split()[:1] == [template.sha256.encode()]


def _explained(site: SiteServer, template: Template, error: ApiError | TaskFailed) -> TercetError:
    """The error for a failed upload, with remedies for the two usual causes."""
    remedy = "run `tercet up` again: it sends the file once more"
    if "space" in error.reason.lower():
        remedy = f"make room on {site.host.template_storage} and in /var/tmp, where Proxmox first receives uploads"
    elif "checksum" in error.reason.lower():
        remedy = f"it was damaged on its way; {remedy}"
    return TercetError(
        f"upload of {template.name} to {site.host.site}: {error}\n  No template was made on "
        f"{site.host.template_storage}; {remedy}"
    )


def _phase(site: SiteServer) -> str:
    return f"template/{site.host.site}"


class Counted:
    """A file that reports how much of it was read, at most once a second and at its end."""

    def __init__(self, file: BinaryIO, report: Callable[[int], None]) -> None:
        self._file = file
        self._report = report
        self._reported = 0.0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        now = time.monotonic()
        if now - self._reported >= REPORT_EVERY or not data:
            self._reported = now
            self._report(self._file.tell())
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def fileno(self) -> int:
        return self._file.fileno()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
