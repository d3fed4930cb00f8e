"""The checks between fields of an inventory. Each check yields findings; none of them does I/O."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping
from difflib import get_close_matches
from itertools import combinations

from tercet.inventory import components, networks, parameters
from tercet.inventory.components import Reserved
from tercet.inventory.model import Inventory
from tercet.inventory.platform import Role
from tercet.inventory.problems import Finding, Location, quoted
from tercet.inventory.providers import declaration, declarations
from tercet.inventory.timing import FENCE, timing_of

RESERVED_SITE = "world"  # the outside world that a provider makes has a container and a network with that name
RESERVED_DATABASES = ("postgres", "template0", "template1")
RESERVED_USERS = ("public", "none")  # they have a special meaning in GRANT; components declare others
RESERVED_DATACENTER = "dcs"  # the Consul datacenter that spans all sites, for leader election


def check(inventory: Inventory) -> Iterator[Finding]:
    """All findings."""
    yield from _sites(inventory)
    yield from _lost_sites(inventory)
    yield from networks.check(inventory)
    yield from _links(inventory)
    yield from _ports(inventory)
    yield from _open(inventory)
    yield from _timing(inventory)
    yield from _database(inventory)
    yield from _tailnet(inventory)
    for provider in declarations():
        yield from provider.check(inventory)
    yield from declaration(inventory.provider).check_chosen(inventory)


def _sites(inventory: Inventory) -> Iterator[Finding]:
    sites = inventory.sites
    if len(sites) < 3 or len(sites) % 2 == 0:
        instead = "three sites" if len(sites) < 3 else f"{len(sites) - 1} or {len(sites) + 1} sites"
        yield Finding(
            ("sites",),
            "an odd number of sites, three or more: a majority must remain when one is lost",
            str(len(sites)),
            instead,
            on_key=True,
        )
    for key, reserved, why in (
        ("name", RESERVED_SITE, "the outside world that a provider makes has that name"),
        ("datacenter", RESERVED_DATACENTER, "tercet's own stretched datacenter for the leader election has it"),
    ):
        first: dict[str, int] = {}
        taken = {reserved, *(site.name if key == "name" else site.datacenter for site in sites)}
        for i, site in enumerate(sites):
            value = site.name if key == "name" else site.datacenter
            here = ("sites", i, key)
            free = "site" if key == "name" else "dc"
            if value == reserved:
                yield Finding(here, f"another name ({why})", quoted(value), f"{key}: {free}{i + 1}")
            if value in first:
                instead = _unused(value, taken)
                taken.add(instead)
                yield Finding(
                    here,
                    f"a {key} that no other site has",
                    f"{quoted(value)}, which is sites[{first[value]}]'s too",
                    f"{key}: {instead}",
                    uses=(("sites", first[value], key),),
                )
            first.setdefault(value, i)
    yield from _first_primary(inventory)


def _lost_sites(inventory: Inventory) -> Iterator[Finding]:
    names = [site.name for site in inventory.sites]
    sites: tuple[Location, ...] = tuple(("sites", i, "name") for i in range(len(names)))
    lost = inventory.lost_sites
    for i, name in enumerate(lost):
        here: Location = ("lost_sites", i)
        if name not in names:
            close = get_close_matches(name, names, n=1)
            yield Finding(here, f"the name of a site: {', '.join(names)}", quoted(name), "".join(close), uses=sites)
        elif name in lost[:i]:
            yield Finding(here, "each lost site once", f"{quoted(name)} again", "nothing: remove this one")
    if names and set(names) <= set(lost):
        found = "all of them"
        yield Finding(("lost_sites",), "at least one site that is not lost", found, "nothing: remove this key")


def _first_primary(inventory: Inventory) -> Iterator[Finding]:
    roles: tuple[Location, ...] = tuple(("sites", i, "database") for i in range(len(inventory.sites)))
    primaries = [i for i, site in enumerate(inventory.sites) if site.database == "primary"]
    expected = "exactly one site with `database: primary`: it bootstraps the cluster"
    if roles and not primaries:
        write = "database: primary at one site"
        yield Finding(("sites",), expected, "none", write, on_key=True, uses=roles)
    for i in primaries[1:]:
        found = f"a second one (the first is sites[{primaries[0]}])"
        yield Finding(roles[i], expected, found, "database: standby", uses=roles)


def _unused(value: str, taken: Container[str]) -> str:
    """A name like `value` that is not taken, made by incrementing its last number."""
    stem = value.rstrip("0123456789") or value
    number = 2
    while f"{stem}{number}" in taken:
        number += 1
    return f"{stem}{number}"


def _links(inventory: Inventory) -> Iterator[Finding]:
    names = [site.name for site in inventory.sites]
    sites: tuple[Location, ...] = tuple(("sites", i, "name") for i in range(len(names)))
    first: dict[frozenset[str], int] = {}
    for i, link in enumerate(inventory.links):
        here: Location = ("links", i, "between")
        for end, name in enumerate(link.between):
            if name not in names:
                close = get_close_matches(name, names, n=1) or names[:1]
                expected = f"the name of a site: {', '.join(names)}"
                yield Finding((*here, end), expected, quoted(name), "".join(close), uses=sites)
        pair = frozenset(link.between)
        if len(pair) == 1:
            yield Finding(here, "two different sites", f"{quoted(link.between[0])} twice", "the other site")
        elif pair in first:
            found = f"{' and '.join(sorted(pair))} again (first at links[{first[pair]}])"
            yield Finding(
                here,
                "each pair of sites once: a link counts both ways",
                found,
                "nothing: remove this link",
                uses=(("links", first[pair], "between"),),
            )
        first.setdefault(pair, i)


def _tailnet(inventory: Inventory) -> Iterator[Finding]:
    if inventory.world is None and inventory.tailnet.auth_key is None and inventory.tailnet.api_key is None:
        yield Finding(
            ("tailnet", "auth_key"),
            f"the key tailnet.auth_key or tailnet.api_key: the nodes of {inventory.provider} join a real tailnet",
            "neither",
            "auth_key: env:TS_AUTHKEY",
            uses=(("tailnet", "api_key"),),
        )


def _ports(inventory: Inventory) -> Iterator[Finding]:
    ports: Mapping[str, int] = inventory.ports.model_dump()
    defaults: Mapping[str, int] = type(inventory.ports)().model_dump()
    written = inventory.ports.model_fields_set
    listening, others_at = _listening(), _reserved()
    where: dict[tuple[str, str], list[Role]] = {}
    for role, names in listening.items():
        for pair in combinations(names, 2):
            if ports[pair[0]] == ports[pair[1]]:
                where.setdefault(pair, []).append(role)
    suggested: dict[str, int] = {}

    def free(name: str, roles: list[Role]) -> int:
        """The first port that is free on nodes of these roles, counting up from the name's default."""
        if name in suggested:
            return suggested[name]
        taken = {*(ports[each] for role in roles for each in listening[role]), *suggested.values()}
        others = [each for role in roles for each in others_at.get(role, ())]
        port = next(
            p for p in range(defaults[name], 65536) if p not in taken and not any(p in each.ports for each in others)
        )
        suggested[name] = port
        return port

    for role, others in others_at.items():
        for name in listening[role]:
            for reserved in others:
                if ports[name] in reserved.ports:
                    at = ("ports", name)
                    expected = f"a port that nothing else has on {role} nodes"
                    yield Finding(at, expected, f"{ports[name]}: {reserved.why}", f"{name}: {free(name, [role])}")
    for (one, other), roles in where.items():
        wrong, kept = (other, one) if other in written else (one, other)
        yield Finding(
            ("ports", wrong),
            "ports that differ on the same node",
            f"{ports[wrong]}, which {kept} also uses on {' and '.join(roles)} nodes",
            f"{wrong}: {free(wrong, roles)}",
            uses=(("ports", kept),),
        )


def _open(inventory: Inventory) -> Iterator[Finding]:
    """Find ports of the platform itself that everybody could use."""
    ports = inventory.ports.model_dump()
    own = {ports[name]: name for name in _listening()[Role.APPS]}
    for i, port in enumerate(inventory.firewall.open):
        if port in own:
            yield Finding(
                ("firewall", "open", i),
                "a port of an application",
                f"{port}, which is ports.{own[port]}: nobody but the platform may use it",
                "open: [80, 443]",
                uses=(("ports", own[port]),),
            )


def _listening() -> Mapping[Role, list[str]]:
    """For each role, the inventory's ports that are used on its nodes."""
    found: dict[Role, list[str]] = {}
    for each in components.declarations():
        for role in each.listens:
            found.setdefault(role, []).extend(each.port_names)
    return found


def _reserved() -> Mapping[Role, list[Reserved]]:
    """For each role, the ports on its nodes that the inventory cannot change."""
    found: dict[Role, list[Reserved]] = {}
    for each in components.declarations():
        for reserved in each.reserved:
            found.setdefault(reserved.role, []).append(reserved)
    return found


def _timing(inventory: Inventory) -> Iterator[Finding]:
    timing = timing_of(inventory)
    keys = ("ttl", "loop_wait", "retry_timeout")
    values: tuple[Location, ...] = (("timing",), *(("patroni", key) for key in keys))
    if timing.ttl < 20:
        yield Finding(
            ("patroni", "ttl"),
            "a ttl of at least 20: Consul expires a session at twice its TTL, and its floor is 10 s",
            str(timing.ttl),
            "ttl: 20",
        )
    needed = timing.loop_wait + 2 * timing.retry_timeout
    rules = (
        (
            needed > timing.ttl,
            "loop_wait + 2 * retry_timeout <= ttl: else a primary that cannot renew its key loses it unaware",
            f"{timing.loop_wait} + 2 * {timing.retry_timeout} = {needed} > {timing.ttl}",
        ),
        (
            timing.keepalive_s > timing.fence_s,
            "loop_wait + retry_timeout + 2 <= 0.6 * ttl: else a primary is fenced while its Patroni waits for `dcs`",
            f"{timing.loop_wait} + {timing.retry_timeout} + 2 = {timing.keepalive_s:g} > {timing.fence_s:g}",
        ),
    )
    least = max(20, needed, math.ceil(timing.keepalive_s / FENCE))
    own = [key for key in keys if key in inventory.patroni.model_fields_set]
    for broken, expected, found in rules:
        if broken:
            at: Location = ("patroni", own[0]) if own else ("timing",)
            yield Finding(at, expected, found, f"ttl: {least}, or a smaller loop_wait or retry_timeout", uses=values)
            return


def _database(inventory: Inventory) -> Iterator[Finding]:
    own = inventory.postgresql
    reserved = {*RESERVED_USERS, *(user for each in components.declarations() for user in each.database_users)}
    if own.user in reserved or own.user.startswith("pg_"):
        here = ("postgresql", "user")
        expected = "a user of the application's own (this name is PostgreSQL's or tercet's)"
        yield Finding(here, expected, quoted(own.user), "user: proposalsapp")
    if own.database in RESERVED_DATABASES:
        here = ("postgresql", "database")
        expected = "a database of the application's own (this one is PostgreSQL's)"
        yield Finding(here, expected, quoted(own.database), "database: proposalsapp")
    standbys = max(2, len(inventory.sites) - 1)  # fewer than three sites is a separate finding
    if inventory.patroni.synchronous_node_count > standbys:
        yield Finding(
            ("patroni", "synchronous_node_count"),
            f"at most {standbys}, the number of standbys: else no write is ever acknowledged",
            str(inventory.patroni.synchronous_node_count),
            "synchronous_node_count: 1",
            uses=(("sites",),),
        )
    yield from parameters.check(own.parameters, ("postgresql", "parameters"), standbys)
