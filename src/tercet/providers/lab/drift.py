"""The plan of a lab: compares the inventory's layout with what was observed. Pure.

provider.py carries out each change by its verb and target, so it executes exactly the plan that was shown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tercet.converge.plan import Change
from tercet.converge.target import Kind, Target, Verb
from tercet.errors import TercetError
from tercet.inventory.platform import holds_database
from tercet.inventory.providers import Capability
from tercet.providers.lab.config import config_text, differences, has_disk, image_of, is_privileged
from tercet.providers.lab.layout import Container, Layout, Link, Network
from tercet.providers.lab.observe import ContainerState, NetworkState, Observed
from tercet.providers.lab.wan import Pair

LOOPBACK = "lo"
# Ten containers use 70 inotify instances (each: systemd 5, D-Bus 1, tailscaled 1). All count for root, who made the
# containers' user namespaces; the kernel's default limit is 128.
WATCHERS_WANTED = 1024


class LabKind(StrEnum):
    """The targets of a lab's plan besides containers. The last four are faults, named after their capabilities."""

    LIMIT = "limit"
    NAMESPACE = "namespace"
    NETWORK = "network"
    BRIDGE = "bridge"
    LINK = "link"
    CABLE = "cable"
    ADDRESS = "address"
    CUT = Capability.CUT
    LOSS = Capability.LOSS
    LATENCY = Capability.LATENCY
    SLOW_DISK = Capability.SLOW_DISK


@dataclass(frozen=True, slots=True)
class CutChange(Change):
    """Ends a cut between the subnets of `pair`, whose networks may no longer be in the inventory."""

    pair: Pair = field(kw_only=True)


def drift(layout: Layout, observed: Observed, away: Collection[str] = ()) -> tuple[Change, ...]:
    """The changes that bring the lab to the state in the inventory, in order. They leave out nodes that are `away` and
    the nodes of lost sites. The networks of lost sites stay. Raises TercetError for a lab of an earlier version, which
    no change can bring there.
    """
    refuse_privileged(layout, observed)
    return (
        *limits(observed),
        *strangers(layout, observed),
        *namespace(layout, observed.network),
        *(change for network in layout.networks for change in bridge(network, observed.network)),
        *links(layout, observed.network),
        *(
            change
            for container in layout.containers
            if container.name not in away and container.name not in layout.lost
            for change in node(layout, container, observed.containers.get(container.name), observed.network)
        ),
    )


def refuse_privileged(layout: Layout, observed: Observed) -> None:
    """Raise TercetError if an earlier version made one of the containers. Its files belong to this machine's root."""
    found = [
        container.name
        for container in layout.containers
        if container.name not in layout.lost
        and (state := observed.containers.get(container.name))
        and is_privileged(state.config or "")
    ]
    if found:
        raise TercetError(
            "expected containers in which root is nobody on this machine, found some that an earlier version of tercet "
            f"made, in which root is root here: {', '.join(found)}. They cannot be converted: `tercet down` destroys "
            "the lab with its databases, and `tercet up` makes it anew"
        )


def limits(observed: Observed) -> Iterator[Change]:
    """Host limits that all containers share. If this one is too low, systemd in a second lab fails in odd places."""
    if observed.watchers < WATCHERS_WANTED:
        reason = f"it is {observed.watchers}, wanted {WATCHERS_WANTED}: all containers share it"
        yield Change(Verb.UPDATE, Target(LabKind.LIMIT, "fs.inotify.max_user_instances"), reason)


def strangers(layout: Layout, observed: Observed) -> Iterator[Change]:
    """Removals of containers and networks that are no longer in the inventory."""
    for name in observed.containers:
        if name in layout.by_name:
            continue
        what = "with its DATABASE" if holds_database(name) else "its data goes with it"
        yield Change(Verb.REMOVE, Target(Kind.CONTAINER, name), f"the inventory has no such node; {what}")
    if observed.network:
        wanted = {network.bridge for network in layout.networks}
        for name, device in observed.network.devices.items():
            if name not in wanted and name.startswith("br") and not device.master:
                yield Change(Verb.REMOVE, Target(LabKind.BRIDGE, name), "the inventory has no such network")


def namespace(layout: Layout, found: NetworkState | None) -> Iterator[Change]:
    target = Target(LabKind.NAMESPACE, layout.namespace)
    if found is None:
        yield Change(Verb.CREATE, target, "absent")
        return
    faults = [
        *([] if found.forwarding else ["it forwards no packets"]),
        *([] if found.cuts_ready else ["its table of cut links is absent or incomplete"]),
        *([] if found.devices[LOOPBACK].up else ["its loopback device is down"]),
    ]
    if faults:
        yield Change(Verb.UPDATE, target, "; ".join(faults))


def bridge(network: Network, found: NetworkState | None) -> Iterator[Change]:
    target = Target(LabKind.NETWORK, network.name)
    device = found.devices.get(network.bridge) if found else None
    if device is None:
        yield Change(Verb.CREATE, target, f"absent; {network.subnet}")
    elif device.addresses != (network.router,):
        have = ", ".join(device.addresses) or "no address"
        yield Change(Verb.UPDATE, target, f"its router has {have}, wanted {network.router}")
    elif device.mac != network.mac:
        yield Change(Verb.UPDATE, target, f"its router's hardware address is {device.mac}, wanted {network.mac}")
    elif not device.up:
        yield Change(Verb.UPDATE, target, f"its bridge {network.bridge} is down")


def links(layout: Layout, found: NetworkState | None) -> Iterator[Change]:
    """Changes for delays that differ or are not in the inventory, and for cuts and weak links in force."""
    wanted = {(link.source.subnet, link.target.subnet): link for link in layout.links}
    have = found.delays if found else {}
    for pair, link in wanted.items():
        if have.get(pair) != link.micros:
            verb = Verb.CREATE if found is None else Verb.UPDATE
            yield Change(verb, Target(LabKind.LINK, link.name), delay_reason(link, have.get(pair)))
    for source, target in have:
        if (source, target) not in wanted:
            reason = "it has a delay that the inventory does not name"
            yield Change(Verb.REMOVE, Target(LabKind.LINK, f"{source}→{target}"), reason)
    names = {network.subnet: network.name for network in layout.networks}
    for (source, target), seconds in (found.cut if found else {}).items():
        name = f"{names.get(source, str(source))}→{names.get(target, str(target))}"
        reason = f"a drill or a person cut it, for {seconds:g} s more"
        yield CutChange(Verb.JOIN, Target(LabKind.CUT, name), reason, pair=(source, target))
    for (kind, number), seconds in (found.weak if found else {}).items():
        site = layout.networks[number].name
        yield Change(Verb.END, Target(LabKind(kind), site), f"a drill made it, for {seconds:g} s more")


def delay_reason(link: Link, have: int | None) -> str:
    now = "none" if have is None else milliseconds(have)
    return f"delay is {now}, wanted {milliseconds(link.micros)}"


def milliseconds(micros: int) -> str:
    return f"{micros / 1000:g} ms"


def node(
    layout: Layout, container: Container, found: ContainerState | None, network: NetworkState | None
) -> Iterator[Change]:
    target = Target(Kind.CONTAINER, container.name)
    if found is None or found.config is None:
        yield Change(Verb.CREATE, target, "absent")
        return
    image = image_of(found.config) or Path("none")
    disk = container.disk and (found.disk_exists or has_disk(found.config))
    difference = differences(found.config, config_text(layout, container, image, disk=disk))
    restarts = container.name if in_reach(container, found, network) else ""
    if difference:
        yield Change(Verb.UPDATE, target, f"its configuration differs: {difference}", restarts=restarts)
    elif not found.image_exists:
        reason = f"its image {image} is gone; it keeps its own files, on the current image"
        yield Change(Verb.UPDATE, target, reason, restarts=restarts)
    elif disk and not found.disk_exists:
        reason = "its disk is gone, and the data with it; it gets an empty one"
        yield Change(Verb.UPDATE, target, reason, restarts=restarts)
    elif found.init is None:
        yield Change(Verb.START, target, "stopped")
    elif network is None or container.port not in network.devices:
        yield Change(Verb.RESTART, target, "it runs, but has no cable in the lab's network")
    else:
        if found.frozen:
            yield Change(Verb.THAW, target, "frozen")
        if found.slow:
            yield Change(Verb.END, Target(LabKind.SLOW_DISK, container.name), "a drill made it")
        port = network.devices[container.port]
        if port.master != container.network.bridge or not port.up:
            state = "down" if not port.up else f"in {port.master or 'no bridge'}"
            reason = f"it is {state}, wanted up in {container.network.bridge}"
            yield Change(Verb.UPDATE, Target(LabKind.CABLE, container.name), reason)
        yield from inner_network(container, found)


def in_reach(container: Container, found: ContainerState, network: NetworkState | None) -> bool:
    """Whether the container runs and the others can reach it, so that a restart disturbs the platform. A container that
    they cannot reach must be changed first, because the platform cannot become healthy until then.
    """
    if found.init is None or found.frozen or network is None or any(bridge(container.network, network)):
        return False
    port = network.devices.get(container.port)
    plugged = port is not None and port.up and port.master == container.network.bridge
    return plugged and not any(inner_network(container, found))


def inner_network(container: Container, found: ContainerState) -> Iterator[Change]:
    """Repairs of eth0, if it was changed inside the container."""
    faults = [
        *([] if container.address in found.addresses else [f"it lacks its address {container.address}"]),
        *(
            []
            if found.gateway == container.network.gateway
            else [f"its default gateway is {found.gateway or 'absent'}, wanted {container.network.gateway}"]
        ),
    ]
    if faults:
        yield Change(Verb.UPDATE, Target(LabKind.ADDRESS, container.name), "; ".join(faults))
