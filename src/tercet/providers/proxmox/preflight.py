"""The checks of `tercet doctor` on Proxmox: each server's API, storages, network and SSH, and then the links between
servers.

All checks are made, even if others fail. A check that depends on a failed one is reported as skipped.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping

from tercet.errors import TercetError
from tercet.inventory.platform import Platform
from tercet.providers.preflight import Check, failed, ok, skipped, warning
from tercet.providers.proxmox.checks_api import server_checks
from tercet.providers.proxmox.checks_host import SSH_TIMEOUT, Looked, host_checks
from tercet.providers.proxmox.site import SiteServer
from tercet.tailnet.control_plane import ControlPlane

SKEW_WARN, SKEW_FAIL = 0.5, 5.0  # seconds that two servers' clocks may differ
LATENCY_MS = {"fast": 50.0, "relaxed": 300.0}  # round-trip time for which the timing profiles are made


async def preflight(platform: Platform, sites: Mapping[str, SiteServer], template: str | None) -> tuple[Check, ...]:
    """All checks: first those of each site, then those across sites. `template` is the image's file name; None if it
    is not built yet.
    """
    lists: dict[str, list[Check]] = {name: [] for name in sites}
    looked: dict[str, Looked] = {}

    async def at(name: str, site: SiteServer) -> None:
        async for check in server_checks(platform, sites, name, template):
            lists[name].append(check)
        looked[name] = await host_checks(site, lists[name])

    async with asyncio.TaskGroup() as group:
        for name, site in sites.items():
            group.create_task(at(name, site))
    between = [*_places(sites), _clocks(looked), *await _latencies(platform, sites), *await _tailnet(platform, sites)]
    return tuple(check for checks in (*lists.values(), between) for check in checks)


def _places(sites: Mapping[str, SiteServer]) -> Iterator[Check]:
    """Checks that no two sites are on the same server, because they would be lost together."""
    title = "each site has a server of its own"
    used: dict[tuple[str, str | None], str] = {}
    shared = [
        f"{other} and {name}"
        for name, site in sites.items()
        if (other := used.setdefault((site.host.api, site.host.node), name)) != name
    ]
    if shared:
        yield warning(
            "all", title, f"on one server: {', '.join(shared)}", "good for a trial; its loss is the loss of both"
        )
    else:
        yield ok("all", title)


def _clocks(looked: Mapping[str, Looked]) -> Check:
    title = "clocks agree"
    known = {name: each.clock for name, each in looked.items() if each.clock is not None}
    if len(known) < 2:
        return skipped("all", title, "fewer than two servers could be asked")
    ahead, behind = max(known, key=lambda name: known[name]), min(known, key=lambda name: known[name])
    skew = known[ahead] - known[behind]
    found = f"{ahead} is {skew:.2f} s ahead of {behind}"
    remedy = "run chrony on every server (`apt install chrony`, `chronyc tracking`)"
    if skew >= SKEW_FAIL:
        return failed("all", title, found, remedy)
    if skew >= SKEW_WARN:
        return warning("all", title, found, remedy)
    return ok("all", title, f"within {max(skew, 0.01):.2f} s")


async def _latencies(platform: Platform, sites: Mapping[str, SiteServer]) -> list[Check]:
    """The round-trip times between servers, measured with ping from the first of each pair to the second."""
    pairs = [(one.name, other.name) for one, other in platform.pairs()]
    times = await asyncio.gather(*(_ping(sites[one], sites[other]) for one, other in pairs))
    limit = LATENCY_MS[platform.settings.timing]
    checks = []
    for (one, other), milliseconds in zip(pairs, times, strict=True):
        title = f"way between {one} and {other}"
        if milliseconds is None:
            checks.append(skipped("all", title, "no answer to ping; the tailnet may do all the same"))
        elif milliseconds > limit:
            remedy = "timing: relaxed" if platform.settings.timing == "fast" else "expect false alarms"
            found = f"{milliseconds:.1f} ms round trip; `timing: {platform.settings.timing}` is made for {limit:g} ms"
            checks.append(warning("all", title, found, remedy))
        else:
            checks.append(ok("all", title, f"{milliseconds:.1f} ms round trip"))
    return checks


async def _ping(site: SiteServer, other: SiteServer) -> float | None:
    """The mean round-trip time in milliseconds; None if ping got no answer."""
    try:
        server, target = await site.ssh(), (await other.ssh()).at.host
        done = await server.run(
            server.command(("ping", "-n", "-q", "-c", "4", "-i", "0.25", "-w", "4", target)), timeout=SSH_TIMEOUT
        )
    except TercetError:
        return None
    found = re.search(rb"= [\d.]+/([\d.]+)/", done.stdout)
    return float(found[1]) if found else None


async def _tailnet(platform: Platform, sites: Mapping[str, SiteServer]) -> list[Check]:
    settings = platform.settings.tailnet
    tailnet = ControlPlane(settings)
    checks = []
    try:
        if tailnet.can_remove:
            members = await asyncio.to_thread(tailnet.members)
            await asyncio.to_thread(tailnet.check_keys)  # an OAuth client has separate scopes for members and keys
            found = f"the API key is accepted for nodes, of which there are {len(members)}, and for keys"
            checks.append(ok("all", "tailnet login", found))
        else:
            await asyncio.to_thread(lambda: tailnet.key)
            checks.append(ok("all", "tailnet login", "an auth key is there; only `up` shows whether it is still valid"))
    except TercetError as error:
        checks.append(failed("all", "tailnet login", str(error), "see `tailnet` in the inventory"))
    server = settings.login_server or "https://controlplane.tailscale.com"
    reached = await asyncio.gather(*(_fetches(site, f"{server}/key?v=100") for site in sites.values()))
    for name, code in zip(sites, reached, strict=True):
        title = "tailnet's control server can be reached"
        if code is None:
            checks.append(skipped(name, title, "the server could not be asked"))
        elif code == 0:
            checks.append(ok(name, title))
        else:
            remedy = f"let the server and its containers reach {server} (curl ended with {code})"
            checks.append(failed(name, title, "no answer from there", remedy))
    return checks


async def _fetches(site: SiteServer, url: str) -> int | None:
    """The exit status of curl on the server. The certificate is not verified here; the nodes do that."""
    try:
        server = await site.ssh()
        done = await server.run(
            server.command(("curl", "-ksS", "-o", "/dev/null", "-m", "8", url)), timeout=SSH_TIMEOUT
        )
    except TercetError:
        return None
    return None if done.status == 127 else done.status
