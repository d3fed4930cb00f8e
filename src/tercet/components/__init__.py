"""The components of the platform, in the order in which a reader should meet them."""

from __future__ import annotations

from tercet.components.allowlist import Allowlist
from tercet.components.application import Application
from tercet.components.aside import Aside
from tercet.components.consul import Consul
from tercet.components.context import Context
from tercet.components.dcs import Dcs
from tercet.components.fingerprint import Fingerprint
from tercet.components.guard import Guard
from tercet.components.headscale import Headscale
from tercet.components.membership import Membership
from tercet.components.nomad import Nomad
from tercet.components.patroni import Patroni
from tercet.components.proxy.component import Proxy
from tercet.components.rewinder import Rewinder
from tercet.components.sentinel import Sentinel
from tercet.components.settings import Restarts, Settings, restarts_of_lowered
from tercet.components.tailscale import Tailscale
from tercet.converge.component import Component

__all__ = ["Context", "components"]


def components(context: Context) -> tuple[Component, ...]:
    """All components of this platform; headscale only where the provider brings a world of its own."""
    outside: tuple[Component, ...] = (Headscale(context),) if context.platform.world else ()
    return (
        Fingerprint(context),
        Membership(context),
        *outside,
        Tailscale(context),
        Allowlist(context),
        Consul(context),
        Dcs(context),
        Guard(context),
        Nomad(context),
        Aside(context),
        Patroni(context),
        Rewinder(context),
        Settings(context),
        Restarts(context),
        restarts_of_lowered(context),
        Sentinel(context),
        Application(context),
        Proxy(context),
    )
