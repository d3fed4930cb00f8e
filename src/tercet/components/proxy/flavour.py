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
        frozenset(link.between): link.latency_ms for link in platform.settings.links
    }

    def distance(node: Node) -> tuple[bool, float]:
        return node.site != site, latency.get(frozenset((node.site, site)), 0.0)

    return [node.name for node in sorted(platform.of(Role.DB), key=distance)]


def leader_of(service: str) -> str:
    """Template text that sets $leader to the node that holds Patroni's leader key; "" if nobody does.

    A Patroni that was killed and starts again deletes the key of its old session before it takes it anew (consul.py,
    _update_leader). In that moment its member key still says that PostgreSQL runs as the primary, and that counts:
    applications keep their sessions. Of a dead node both keys vanish together, with the session.
    """
    return (
        f'{{{{- $leader := keyOrDefault "service/{service}/leader" "" }}}}'
        f'{{{{ if eq $leader "" }}}}{{{{ range ls "service/{service}/members" }}}}{{{{ $member := parseJSON .Value }}}}'
        '{{ if and (eq $member.role "primary") (eq $member.state "running") }}{{ $leader = .Key }}{{ end }}'
        "{{ end }}{{ end -}}\n"
    )


def choose_servers(platform: Platform, site: str) -> str:
    """Template text that leaves the names of the primary and of the node to read in scratch: "primary" and "read".

    Names of the platform's own database nodes, which /etc/hosts resolves: anyone on a node may register a service with
    any address in Consul, and a template cannot check one.

    Reads go to the local database node whether it is a replica or the primary, else to the nearest passing
    replica, else to the primary. Either name is "" where there is none. The primary is the holder of Patroni's
    leader key, else whoever passes as primary: tags lag behind the key by up to a second after a promotion and by
    two after the return of a primary that died, and are gone while a Patroni starts anew beside its PostgreSQL.
    """
    service = platform.settings.postgresql.service
    local, *others = preference(platform, site)
    is_local = f'{{{{ if eq .Node "{local}" }}}}{{{{ scratch.Set "read" .Node }}}}{{{{ end }}}}'
    is_primary = '{{ if in $databases .Node }}{{ scratch.Set "primary" .Node }}{{ end }}'
    lines = [
        f'{{{{- $databases := split " " "{" ".join((local, *others))}" }}}}',
        # Both questions are asked whatever the branches below need, so that no answer has to be waited for later.
        f'{{{{- $primaries := service "primary.{service}" }}}}{{{{ $replicas := service "replica.{service}" }}}}',
        '{{- scratch.Set "primary" "" }}{{ scratch.Set "read" "" }}',
        leader_of(service).rstrip(),
        f"{{{{- range $primaries }}}}{is_primary}{is_local}{{{{ end }}}}",
        f'{{{{- range service "{service}|any" }}}}{{{{ if eq .Node $leader }}}}{is_primary}{{{{ end }}}}{{{{ end }}}}',
    ]
    lines.extend(
        '{{- if eq (scratch.Get "read") "" }}{{ range $replicas }}'
        f'{{{{ if eq .Node "{node}" }}}}{{{{ scratch.Set "read" .Node }}}}{{{{ end }}}}'
        "{{ end }}{{ end }}"
        for node in (local, *others)
    )
    lines.append('{{- if eq (scratch.Get "read") "" }}{{ scratch.Set "read" (scratch.Get "primary") }}{{ end }}')
    return "\n".join(lines) + "\n"
