"""From a scenario's words to faults as values (healing.Fault): what runs where to make and to end each. Pure.

Faults on a node are ended by a transient systemd timer there, `tercet-heal-N`, set before the fault is made. What it
runs is exactly what the tool runs to heal, so there is one remedy and not two.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.resources import files

from tercet.components.consul import component as consul
from tercet.components.dcs import component as dcs
from tercet.components.nomad import component as nomad
from tercet.components.patroni import component as patroni
from tercet.components.patroni.declaration import PatroniPorts
from tercet.components.proxy import component as proxy
from tercet.components.tailscale import component as tailscale
from tercet.converge.requests import Exec
from tercet.drills.run.healing import GRACE_S, Fault, FromOutside, OnNode
from tercet.drills.scenario.model import FaultModel, Kind
from tercet.drills.scenario.targets import View, nodes_of, process_of, site_of
from tercet.errors import TercetError
from tercet.inventory.platform import Role

POSTMASTER_PID = f"{patroni.DATA}/postmaster.pid"
FILL = f"{patroni.DATA}/tercet-fill"
LARGEST_DISK_GIB = 64


@dataclass(frozen=True, slots=True)
class Facts:
    """What a fault must know of the platform besides the view: the proxy's unit and the cluster's name."""

    proxy_unit: str  # "pgcat.service"
    cluster: str  # Patroni's scope


def fault_of(model: FaultModel, view: View, facts: Facts, number: int) -> Fault:
    """The fault that these words mean on the platform as it stands; `number` is its place in the drill.

    Raises TargetError where the target does not exist.
    """
    makers: dict[Kind, Callable[[], Fault]] = {
        "kill": lambda: _machines(model, view, "kill", "start", "killed"),
        "freeze": lambda: _machines(model, view, "freeze", "thaw", "frozen"),
        "cut_off": lambda: _cut_off(model, view),
        "cut": lambda: _cut(model, view, both=True),
        "cut_one_way": lambda: _cut(model, view, both=False),
        "flap": lambda: _flap(model, view),
        "loss": lambda: _weak(model, view),
        "latency": lambda: _weak(model, view),
        "crash": lambda: _process(model, view, facts, number),
        "terminate": lambda: _process(model, view, facts, number),
        "hang": lambda: _process(model, view, facts, number),
        "hang_loop": lambda: _hang_loop(model, view, number),
        "hold_down": lambda: _process(model, view, facts, number),
        "fill_disk": lambda: _fill_disk(model, view, number),
        "slow_disk": lambda: _slow_disk(model, view),
        "switchover": lambda: _switchover(model, view, facts),
    }
    return makers[model.kind]()


def _machines(model: FaultModel, view: View, make: str, end: str, done: str) -> Fault:
    (target,) = model.targets
    nodes = nodes_of(target, view)
    sites = frozenset(view.platform.node(name).site for name in nodes if view.platform.node(name).role is Role.APPS)
    whole = {site for site in sites if len([n for n in nodes if view.platform.node(n).site == site]) > 1}
    subject = f"site {', '.join(sorted(whole))}" if whole else ", ".join(nodes)
    seconds = model.lasts + GRACE_S
    if make == "kill":
        inject = FromOutside("kill", nodes=nodes, seconds=seconds)
        heal = FromOutside("start", nodes=nodes)
    else:
        inject = FromOutside("freeze", nodes=nodes, seconds=seconds)
        heal = FromOutside("thaw", nodes=nodes)
    return Fault(f"{subject} {done}", nodes, (inject,), (heal,), sites=sites, roaming=sites)


def _cut_off(model: FaultModel, view: View) -> Fault:
    site = site_of(model.targets[0], view)
    nodes = tuple(node.name for node in view.platform.nodes if node.site == site)
    return Fault(
        f"site {site} cut off",
        nodes,
        (FromOutside("cut", source=site, seconds=model.lasts + GRACE_S),),
        (FromOutside("join", source=site),),
        sites=frozenset({site}),
    )


def _cut(model: FaultModel, view: View, *, both: bool) -> Fault:
    source, target = (site_of(text, view) for text in model.targets)
    if source == target:
        raise TercetError(f"expected two sites to cut the link between, found {source} twice")
    seconds = model.lasts + GRACE_S
    return Fault(
        f"link {source} {'↔' if both else '→'} {target} cut",
        (),
        (FromOutside("cut", source=source, target=target, both=both, seconds=seconds),),
        (FromOutside("join", source=source, target=target, both=both),),
    )


def _flap(model: FaultModel, view: View) -> Fault:
    """One spell of it; see FaultModel.spells."""
    fault = _cut(model, view, both=True) if len(model.targets) > 1 else _cut_off(model, view)
    return replace(fault, title=f"{fault.title}, every {model.every:g} s")


def _weak(model: FaultModel, view: View) -> Fault:
    """A site whose links lose or delay packets. Its applications are expected to get through all the same."""
    site = site_of(model.targets[0], view)
    nodes = tuple(node.name for node in view.platform.nodes if node.site == site)
    seconds = model.lasts + GRACE_S
    if model.kind == "loss":
        inject = FromOutside("lose", source=site, percent=model.percent, seconds=seconds)
        title = f"{model.percent} % of the packets of site {site} lost"
    else:
        inject = FromOutside("delay", source=site, by=model.to, seconds=seconds)
        title = f"packets of site {site} delayed to {model.to * 1000:g} ms"
    return Fault(title, nodes, (inject,), (FromOutside("steady", source=site),))


PROXIED = ("proxy", "tailscaled")
"""Without these processes on its apps node, no application of a site gets through."""


def _process(model: FaultModel, view: View, facts: Facts, number: int) -> Fault:
    process, node = process_of(model.targets[0], view)
    done = {"crash": "killed", "terminate": "terminated", "hang": "frozen", "hold_down": "held down"}[model.kind]
    of_unit = process != "postmaster"
    scripts = _unit(model.kind, _units(facts)[process]) if of_unit else _postmaster(model.kind, number)
    fault = _on_node(f"{process} of {node} {done}", node, scripts, model.lasts, number)
    where = view.platform.node(node)
    if where.role is not Role.APPS:
        return fault
    site = frozenset({where.site})
    dark = model.kind in ("hang", "hold_down") and process in PROXIED
    return replace(
        fault, sites=site if dark else fault.sites, roaming=site if process == "tailscaled" else fault.roaming
    )


def _units(facts: Facts) -> dict[str, str]:
    return {
        "patroni": patroni.UNIT,
        "proxy": facts.proxy_unit,
        "consul-template": proxy.UNIT,
        "tailscaled": tailscale.UNIT,
        "consul": consul.UNIT,
        "dcs": dcs.UNIT,
        "nomad": nomad.UNIT,
    }


def _unit(kind: Kind, unit: str) -> tuple[str, str]:
    """(script that makes the fault, script that ends it) for a systemd unit."""
    start = f"systemctl reset-failed {unit} 2>/dev/null; systemctl start --no-block {unit}"
    if kind == "hang":
        # The main process alone: a frozen Patroni's PostgreSQL goes on.
        stop = f"systemctl kill --kill-whom=main --signal=STOP {unit}"
        return stop, f"systemctl kill --kill-whom=main --signal=CONT {unit} 2>/dev/null; {start}"
    if kind == "terminate":
        return f"systemctl kill --kill-whom=main --signal=TERM {unit}", start
    kill = f"systemctl kill --kill-whom=main --signal=KILL {unit}"
    # The stop finds nobody left to ask; it only keeps the supervisor from starting the unit again.
    return (kill if kind == "crash" else f"{kill}; systemctl stop {unit}"), start


def _postmaster(kind: Kind, number: int) -> tuple[str, str]:
    start = f"systemctl start --no-block {patroni.UNIT}"
    pid = f"$(head -1 {POSTMASTER_PID})"
    match kind:
        case "hang":
            # By the time of healing the file may name a new postmaster, so the frozen one's id is kept.
            note = f"/run/tercet-frozen-{number}"
            thaw = f"[ ! -s {note} ] || kill -CONT $(cat {note}) 2>/dev/null; rm -f {note}; {start}"
            return f"head -1 {POSTMASTER_PID} > {note} && kill -STOP $(cat {note})", thaw
        case "hold_down":
            # PostgreSQL belongs to Patroni: it stays down only if Patroni is down too.
            kill = f"systemctl kill --kill-whom=main --signal=KILL {patroni.UNIT}; systemctl stop {patroni.UNIT}"
            return f"{kill}; kill -KILL {pid}", start
        case "terminate":
            return f"kill -TERM {pid}", start
    return f"kill -KILL {pid}", start


def _hang_loop(model: FaultModel, view: View, number: int) -> Fault:
    (node,) = nodes_of(model.targets[0], view)
    if view.platform.node(node).role is not Role.DB:
        raise TercetError(f"expected a database node for hang_loop, found {node}; name one, such as: the primary")
    unit, program = f"tercet-hang-{number}", f"/run/tercet-hang-{number}.py"
    limit = model.lasts + GRACE_S
    make = (
        f"cat > {program} && pid=$(systemctl show --value --property=MainPID {patroni.UNIT}) && "
        f"systemd-run --quiet --collect --unit={unit} --property=RuntimeMaxSec={limit:g} "
        f"/usr/bin/python3 -I {program} $pid {node} {view.platform.settings.ports.of(PatroniPorts).patroni}"
    )
    heal = f"systemctl stop {unit} 2>/dev/null; rm -f {program}; systemctl start --no-block {patroni.UNIT}"
    source = files("tercet.nodeside").joinpath("hold_thread.py").read_bytes()
    fault = _on_node(f"loop of Patroni on {node} hung", node, (make, heal), model.lasts, number)
    return replace(fault, inject=(OnNode(node, replace(_sh(make), stdin=source)),))


def _fill_disk(model: FaultModel, view: View, number: int) -> Fault:
    (node,) = nodes_of(model.targets[0], view)
    check = (
        f"set -e; type=$(stat -f -c %T {patroni.DATA}); "
        f'case "$type" in overlayfs|tmpfs|ramfs) echo "its data lies on $type, which other nodes share; '
        'give it a file system of its own" >&2; exit 3;; esac; '
        f"size=$(df --output=size -BG {patroni.DATA} | tail -1 | tr -dc 0-9); "
        f'[ "$size" -le {LARGEST_DISK_GIB} ] || {{ echo "its data lies on a disk of $size GiB; at most '
        f'{LARGEST_DISK_GIB} GiB are filled" >&2; exit 3; }}'
    )
    # As PostgreSQL's own user: the share that file systems reserve for root stays free, as on a real full disk.
    make = (
        f"free=$(df --output=avail -B1 {patroni.DATA} | tail -1); "
        f'runuser -u postgres -- fallocate -l "$free" {FILL} || true; '
        f"runuser -u postgres -- dd if=/dev/zero of={FILL}.rest bs=64k status=none 2>/dev/null; true"
    )
    heal = f"rm -f {FILL} {FILL}.rest && systemctl start --no-block {patroni.UNIT}"
    fault = _on_node(f"disk of {node} full", node, (make, heal), model.lasts, number)
    return replace(fault, check=(OnNode(node, _sh(check)),))


SLOW_IOPS = 20
"""Writes a second that a slow disk still does; an ordinary one does hundreds. A commit needs one or two."""


def _slow_disk(model: FaultModel, view: View) -> Fault:
    nodes = nodes_of(model.targets[0], view)
    seconds = model.lasts + GRACE_S
    inject = FromOutside("slow_disk", nodes=nodes, iops=SLOW_IOPS, seconds=seconds)
    return Fault(f"disk of {nodes[0]} slow", nodes, (inject,), (FromOutside("free_disk", nodes=nodes),))


def _switchover(model: FaultModel, view: View, facts: Facts) -> Fault:
    site = site_of(model.targets[0], view)
    candidate = view.platform.at(site, Role.DB).name
    if candidate == view.primary:
        raise TercetError(f"expected a switchover to another site, found that the primary is at {site} already")
    request = OnNode(candidate, patroni.hand_over(facts.cluster, view.primary, candidate))
    return Fault(f"switchover from {view.primary} to {candidate}", (), (request,), ())


def _on_node(title: str, node: str, scripts: tuple[str, str], lasts: float, number: int) -> Fault:
    """A fault made and ended by shell scripts, with its timer."""
    make, heal = scripts
    unit = f"tercet-heal-{number}"
    disarm = f"systemctl stop {unit}.timer 2>/dev/null; systemctl reset-failed {unit}.service 2>/dev/null"
    timer = (
        f"{disarm}; systemd-run --quiet --collect --unit={unit} --on-active={lasts + GRACE_S:g}s "
        f"--timer-property=AccuracySec=100ms /bin/sh -c {shlex.quote(heal)}"
    )
    return Fault(
        title,
        (node,),
        inject=(OnNode(node, _sh(make)),),
        # The timer stays until the remedy has worked: it may be the only one that gets through later.
        heal=(OnNode(node, _sh(f"{heal}; status=$?; [ $status -ne 0 ] || {{ {disarm}; }}; exit $status")),),
        arm=(OnNode(node, _sh(timer)),),
    )


def _sh(script: str) -> Exec:
    return Exec(("sh", "-c", script), timeout=20)
