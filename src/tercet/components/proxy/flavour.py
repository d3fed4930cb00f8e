"""Code that both proxies share, and the differences between them as one value."""

from __future__ import annotations

from dataclasses import dataclass

from tercet.converge.resources import Object, Resource, Unit
from tercet.datafile import text_of
from tercet.inventory.platform import Node, Platform, Role

STATE = "/var/lib/consul-template"
"""Consul Template's own directory, with the rendered file."""


@dataclass(frozen=True, slots=True)
class Flavour:
    """One kind of proxy on one apps node.

    Consul Template renders `template` to `rendered`; a SIGHUP to the process in `pid_file` puts it into force.
    """

    kind: str
    rendered: str
    group: str  # the group that may read the rendered file
    template: bytes
    pid_file: str  # the PID file of the process that reads the rendered file; absent while that does not run
    resources: tuple[Resource, ...]  # all resources except the template, the rendered file and the units' state
    units: tuple[Unit, ...]  # in the order of their start; the proxy itself is the last
    checks: tuple[Object, ...]  # other objects that must agree with the rendered file
    deviation: str = ""
    """What this kind does with the reads of a transaction before its first write, if it does not send them to the
    primary, and what an application can do. This is a known deviation: it is tested and shown, but not a failure.
    """

    @property
    def unit(self) -> str:
        """The proxy's own unit."""
        return self.units[-1].name


def preference(platform: Platform, site: str) -> list[str]:
    """Database nodes in the order of preference for this site's reads: its own, then by latency."""

    def distance(node: Node) -> tuple[bool, float]:
        return node.site != site, platform.latency_ms(node.site, site)

    return [node.name for node in sorted(platform.of(Role.DB), key=distance)]


def template(name: str, platform: Platform, site: str) -> str:
    """A template for the proxy of this site. leader.ctmpl is inserted, because templates cannot share variables."""
    service = platform.settings.postgresql.service
    local, *others = preference(platform, site)
    return text_of(
        __package__,
        name,
        SERVICE=service,
        LEADER=text_of(__package__, "leader.ctmpl", SERVICE=service).strip(),
        LOCAL=local,
        NEAREST_FIRST=" ".join((local, *others)),
    )
