"""An opened platform: the inventory with everything that is made from it, ready for an operation.

Opening reads files only; nothing is built, created or asked yet. Read-only commands need no image and no
secrets file; `for_change` makes both. What has no secret yet is planned with a stand-in.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tercet.components import Context, components
from tercet.converge.apply import apply
from tercet.converge.component import Component
from tercet.converge.events import Emit
from tercet.converge.fleet import Fleet
from tercet.converge.observe import observe
from tercet.converge.plan import Change, Plan
from tercet.converge.planner import plan
from tercet.errors import TercetError
from tercet.image.build import Image, ensure_image, find_image
from tercet.image.elf import host_arch
from tercet.image.lock import read_lock
from tercet.image.proxy import settled
from tercet.inventory.load import load
from tercet.inventory.platform import Platform
from tercet.inventory.secrets import holds_any, load_or_create, peek
from tercet.inventory.timing import timing_of
from tercet.operations.restarts import restart
from tercet.providers.base import Provider

OBSERVE_TIMEOUT_S = 15.0
GATE_S = 180.0  # seconds for one gate; on two busy cores a start takes up to 60, on a slow machine thrice that


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
    return _assemble(file, platform, find_image(platform.settings, lock_file(file)))


async def for_change(session: Session, emit: Emit) -> Session:
    """The same session with secrets and an image, made now where they are missing."""
    await _refuse_lost_secrets(session)
    secrets = load_or_create(secrets_file(session.file))
    image = await ensure_image(session.platform.settings, session.lock_file, emit)
    if (image, secrets) == (session.image, session.context.secrets):
        return session
    return _assemble(session.file, session.platform, image)


async def _refuse_lost_secrets(session: Session) -> None:
    """New passwords and a new authority must not silently replace those that an existing platform lives with."""
    path = secrets_file(session.file)
    if holds_any(path):
        return
    made = [change.what for change in await session.provider.doomed() if change.what.startswith("container ")]
    if made:
        raise TercetError(
            f"expected the secrets of platform {session.platform.name} in {path}, found none although it exists "
            f"({', '.join(made)}): restore the file from your copy, or begin anew with `tercet down`"
        )


def _assemble(file: Path, platform: Platform, image: Image | None) -> Session:
    chosen = settled(platform.settings, read_lock(lock_file(file)), host_arch())
    context = Context(
        platform=platform,
        secrets=peek(secrets_file(file)),
        timing=timing_of(platform.settings),
        programs=image.programs if image else (),
        proxy=chosen[0] if chosen else "pgpool",  # a stand-in: something must be planned with
    )
    provider = _provider(file, platform, image)
    return Session(file, platform, provider, context, components(context), image, chosen[1] if chosen else None)


def _provider(file: Path, platform: Platform, image: Image | None) -> Provider:
    if platform.settings.provider == "lab":
        from tercet.providers.lab.provider import LabProvider  # noqa: PLC0415 - only the one that is used

        return LabProvider(platform, image.rootfs if image else None)
    from tercet.providers.proxmox.provider import ProxmoxProvider  # noqa: PLC0415

    return ProxmoxProvider(platform, image, known_hosts_file(file))


async def make_plan(session: Session) -> Plan:
    """Compare the inventory with what runs. Changes nothing."""
    await _refuse_lost_secrets(session)
    infrastructure = await session.provider.survey()
    if session.image is None:
        undecided = "; the proxy is undecided until then: PgCat if it can be had, else pgpool-II"
        why = "not in the cache" + (undecided if session.proxy_reason is None else "")
        infrastructure = (Change("build", "image", why), *infrastructure)
    nodes = session.platform.containers
    wanted = {
        node.name: [resource for component in session.components for resource in component.desired(node)]
        for node in nodes
    }
    running = await session.provider.running()
    observation = await observe(session.provider, wanted, running, timeout=OBSERVE_TIMEOUT_S)
    return plan(session.components, nodes, observation, infrastructure)


async def carry_out(session: Session, todo: Plan, fleet: Fleet, emit: Emit) -> None:
    """Execute exactly this plan: containers first, then each component, gated by health, then the restarts of
    containers that serve. `fleet` has the nodes."""
    if todo.unreachable:
        names = "; ".join(f"{name}: {reason}" for name, reason in todo.unreachable)
        raise TercetError(
            f"nodes that run but do not answer: {names}. Nothing was changed. Look at them with "
            f"`tercet status`, or stop them so that they are started anew"
        )
    if todo.infrastructure:
        await session.provider.prepare(todo.infrastructure, emit)
    nodes = session.platform.containers
    await apply(todo, session.components, nodes, fleet, emit, gate_timeout=GATE_S)
    await restart(
        todo.restarts,
        session.components,
        nodes,
        provider=session.provider,
        fleet=fleet,
        emit=emit,
        gate_timeout=GATE_S,
    )


def operator(action: str) -> str:
    """Who holds the lock, for the one who must wait: user, host, process and what they do."""
    return f"{getpass.getuser()}@{socket.gethostname()} (process {os.getpid()}): {action}"


def names(session: Session) -> Sequence[str]:
    """All nodes' names, for messages on a name that is not one."""
    return [node.name for node in session.platform.containers]


__all__ = ["Session", "carry_out", "for_change", "make_plan", "open_session", "operator", "replace"]
