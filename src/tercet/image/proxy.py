"""Chooses the proxy, with a reason: PgCat if it is available, otherwise pgpool-II from Debian."""

from __future__ import annotations

from tercet.converge.events import Event
from tercet.errors import TercetError
from tercet.image.cache import timestamp
from tercet.image.catalog import Proxy, component
from tercet.image.elf import Arch
from tercet.image.lock import Lock, ProxyEntry
from tercet.image.resolve import NoSource, Run, obtain, pinned
from tercet.inventory.model import Inventory

PGCAT = "pgcat"


def resolved(inventory: Inventory, lock: Lock, arch: Arch) -> tuple[Proxy, str] | None:
    """The proxy and the reason, if inventory and lock decide it; None if PgCat must be tried.

    The first choice for `auto` is kept: a platform does not change its proxy because a network came back.
    """
    if inventory.proxy == "pgpool":
        return "pgpool", "pgpool-II, as the inventory says"
    if inventory.proxy == "pgcat":
        return "pgcat", "PgCat, as the inventory says"
    entry = pinned(component(PGCAT), inventory, lock, arch)
    if entry is not None:
        return "pgcat", f"PgCat {entry.version}, from {entry.source}"
    if lock.proxy is not None and lock.proxy.requested == component(PGCAT).requested(inventory):
        return "pgpool", lock.proxy.reason
    return None


async def resolve(run: Run) -> tuple[Proxy, str]:
    """Choose the proxy. If it is PgCat, its program is in the cache afterwards."""
    before = resolved(run.inventory, run.lock.lock, run.arch)
    if before is None or before[0] == "pgcat":
        try:
            await obtain(component(PGCAT), run)
        except NoSource as error:
            if before is not None:
                raise TercetError(f"{error}. Or use pgpool-II, which needs no download: proxy: pgpool") from error
            reason = f"pgpool-II, because PgCat is not available ({error.reasons})"
            requested = component(PGCAT).requested(run.inventory)
            run.lock.settle_proxy(ProxyEntry(requested=requested, reason=reason, when=timestamp()))
        else:
            run.lock.settle_proxy(None)
    after = resolved(run.inventory, run.lock.lock, run.arch)
    if after is None:
        raise TercetError("the proxy was chosen, but the lock does not say so; remove the lock and run again")
    run.emit(Event("image", "progress", f"proxy: {after[1]}"))
    return after
