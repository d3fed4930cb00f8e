"""What the two proxies have in common, and what differs between them as one value."""

from __future__ import annotations

from dataclasses import dataclass

from tercet.converge.resources import Object, Resource, Unit
from tercet.inventory.platform import Node, Platform, Role


@dataclass(frozen=True, slots=True)
class Flavour:
    """One kind of proxy on one apps node.

    `template` is rendered by Consul Template to `rendered`; SIGHUP to the process in `pid_file` makes it count.
    """

    kind: str
    rendered: str
    owner: str  # user and group of the rendered file
    template: bytes
    pid_file: str  # of the process that reads the rendered file; absent while that does not run
    resources: tuple[Resource, ...]  # all but the template, the rendered file and the units' state
    units: tuple[Unit, ...]  # in the order of their start; the proxy itself is the last
    checks: tuple[Object, ...]  # what else must be as rendered
    deviation: str = ""
    """What this kind does with the reads that a transaction makes before its first write, where it does not send them
    to the primary, and what an application can do about it. Declared, so shown and not failed; still tested."""

    @property
    def unit(self) -> str:
        """The proxy's own unit."""
        return self.units[-1].name


def preference(platform: Platform, site: str) -> list[str]:
    """Database nodes in the order in which this site's reads should use them: its own, then by latency."""
    latency: dict[frozenset[str], float] = {
        frozenset(link.between): link.latency_ms for link in platform.settings.lab.links
    }

    def distance(node: Node) -> tuple[bool, float]:
        return node.site != site, latency.get(frozenset((node.site, site)), 0.0)

    return [node.name for node in sorted(platform.of(Role.DB), key=distance)]


def choose_servers(platform: Platform, site: str) -> str:
    """Template text that leaves the primary's and the reads' address in scratch: "primary" and "read".

    Reads go to the local database node whether it is a replica or the primary, else to the nearest passing
    replica, else to the primary. Either address is "" where there is none. The primary is the holder of Patroni's
    leader key, else whoever passes as primary: tags lag behind the key by up to a second after a promotion and by
    two after the return of a primary that died, and are gone while a Patroni starts anew beside its PostgreSQL.
    """
    service = platform.settings.postgresql.service
    local, *others = preference(platform, site)
    is_local = f'{{{{ if eq .Node "{local}" }}}}{{{{ scratch.Set "read" .Address }}}}{{{{ end }}}}'
    lines = [
        # Both questions are asked whatever the branches below need, so that no answer has to be waited for later.
        f'{{{{- $primaries := service "primary.{service}" }}}}{{{{ $replicas := service "replica.{service}" }}}}',
        '{{- scratch.Set "primary" "" }}{{ scratch.Set "read" "" }}',
        f'{{{{- $leader := keyOrDefault "service/{service}/leader" "" }}}}',
        f'{{{{- range $primaries }}}}{{{{ scratch.Set "primary" .Address }}}}{is_local}{{{{ end }}}}',
        f'{{{{- range service "{service}|any" }}}}{{{{ if eq .Node $leader }}}}'
        '{{ scratch.Set "primary" .Address }}{{ end }}{{ end }}',
    ]
    lines.extend(
        '{{- if eq (scratch.Get "read") "" }}{{ range $replicas }}'
        f'{{{{ if eq .Node "{node}" }}}}{{{{ scratch.Set "read" .Address }}}}{{{{ end }}}}'
        "{{ end }}{{ end }}"
        for node in (local, *others)
    )
    lines.append('{{- if eq (scratch.Get "read") "" }}{{ scratch.Set "read" (scratch.Get "primary") }}{{ end }}')
    return "\n".join(lines) + "\n"
