"""An opened platform: the inventory with everything that is made from it, ready for an operation.

Opening reads files only; nothing is built, created or asked yet. Read-only commands need no image and no
secrets file; change.py makes both. What has no secret yet is planned with a stand-in.
"""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path

from tercet.components import Context, components
from tercet.converge.component import Component
from tercet.image.build import Image, find_image
from tercet.image.elf import host_arch
from tercet.image.lock import read_lock
from tercet.image.proxy import settled
from tercet.inventory.load import load
from tercet.inventory.platform import Platform
from tercet.inventory.secrets import Secrets, peek
from tercet.inventory.timing import timing_of
from tercet.providers.base import Provider


@dataclass(frozen=True)
class Session:
    """One platform, opened from its inventory file."""

    file: Path
    platform: Platform
    provider: Provider
    context: Context
    components: tuple[Component, ...]
    image: Image | None
    proxy_reason: str | None
    """Why the proxy is what it is; None while it is undecided, since PgCat has not been tried yet."""

    @property
    def lock_file(self) -> Path:
        return lock_file(self.file)


def lock_file(inventory: Path) -> Path:
    """Where the choice of component sources is recorded, beside the inventory."""
    return inventory.with_name(f"{inventory.stem}.lock.json")


def secrets_file(inventory: Path) -> Path:
    """The one place of generated secrets, beside the inventory."""
    return inventory.with_name(f"{inventory.stem}.secrets.yml")


def known_hosts_file(inventory: Path) -> Path:
    """Where the SSH keys of Proxmox servers are pinned, beside the inventory."""
    return inventory.with_name(f"{inventory.stem}.known_hosts")


def open_session(file: Path, *, lab: bool = False) -> Session:
    """Read the inventory (TercetError names file and line) and put together what an operation needs."""
    platform = load(file, lab=lab)
    return assemble(file, platform, find_image(platform.settings, lock_file(file)))


def assemble(file: Path, platform: Platform, image: Image | None) -> Session:
    """The session of a platform whose inventory was read; `image` is None where it is not made yet."""
    chosen = settled(platform.settings, read_lock(lock_file(file)), host_arch())
    context = Context(
        platform=platform,
        secrets=peek(secrets_file(file)),
        timing=timing_of(platform.settings),
        programs=image.programs if image else (),
        proxy=chosen[0] if chosen else "pgpool",  # a stand-in: something must be planned with
        secrets_from=f"{getpass.getuser()}@{socket.gethostname()}:{secrets_file(file).absolute()}",
    )
    provider = _provider(file, platform, image)
    return Session(file, platform, provider, context, components(context), image, chosen[1] if chosen else None)


def with_secrets(session: Session, secrets: Secrets) -> Session:
    """The same session with other secrets. Its provider, which may hold the lock, is the same."""
    if secrets == session.context.secrets:
        return session
    context = replace(session.context, secrets=secrets)
    return replace(session, context=context, components=components(context))


def _provider(file: Path, platform: Platform, image: Image | None) -> Provider:
    if platform.settings.provider == "lab":
        from tercet.providers.lab.provider import LabProvider  # noqa: PLC0415 - only the one that is used

        return LabProvider(platform, image.rootfs if image else None)
    from tercet.providers.proxmox.provider import ProxmoxProvider  # noqa: PLC0415

    return ProxmoxProvider(platform, image, known_hosts_file(file))


def operator(action: str) -> str:
    """Who holds the lock, for the one who must wait: user, host, process and what they do."""
    return f"{getpass.getuser()}@{socket.gethostname()} (process {os.getpid()}): {action}"
