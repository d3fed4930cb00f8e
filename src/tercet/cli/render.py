"""A plan as text and as JSON. Neither has secrets: of a file's content, only the lines in `Differences` are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from tercet.converge.plan import Change, Held, Plan
from tercet.converge.target import Verb

if TYPE_CHECKING:
    from tercet.operations.differences import Differences

NONE: Differences = MappingProxyType({})
COLORS = {
    Verb.CREATE: "green",
    Verb.START: "green",
    Verb.ENABLE: "green",
    Verb.REMOVE: "red",
    Verb.STOP: "red",
    Verb.DISABLE: "red",
}
ORDER = (
    Verb.BUILD,
    Verb.CREATE,
    Verb.UPDATE,
    Verb.CHANGE,
    Verb.ENABLE,
    Verb.START,
    Verb.RELOAD,
    Verb.RESTART,
    Verb.DISABLE,
    Verb.STOP,
    Verb.REMOVE,
)
"""The order of verbs in a count; other verbs follow by name."""
SIGNS = {"+": "green", "-": "red"}
STOPPED = "its changes are known only when it runs"


def render_plan(plan: Plan, console: Console, differences: Differences = NONE) -> None:
    """Print every change under its component and node, with its reason. The last line counts them."""
    if others := [change for change in plan.infrastructure if not change.destroys]:
        console.print(Text("containers and networks", "bold"))
        _print_changes(others, console, indent=2)
    for component, nodes in _by_component(plan).items():
        console.print(Text(component, "bold"))
        for node, changes in nodes.items():
            rolling = any(step.group for step in plan.steps if (step.component, step.node) == (component, node))
            console.print(Text(f"  {node}").append("  (one node at a time)" if rolling else "", "dim"))
            _print_changes(changes, console, indent=4, differences=differences, node=node)
    if plan.stopped:
        console.print(Text("stopped", "bold yellow"))
        for node in plan.stopped:
            console.print(Text(f"  {node}").append(f"  {STOPPED}", "dim"), soft_wrap=True)
    if plan.restarts:
        console.print(
            Text("restarts of containers", "bold").append("  (one at a time, while all else is healthy)", "dim")
        )
        _print_changes(plan.restarts, console, indent=2)
    if plan.destructions:
        console.print(Text("databases destroyed", "bold red").append("  (only with --destroy NODE)", "dim"))
        _print_changes(plan.destructions, console, indent=2)
    render_waiting(plan, console, differences)
    console.print(Text(summary(plan)), soft_wrap=True)


def render_waiting(plan: Plan, console: Console, differences: Differences = NONE) -> None:
    """Print what waits, for which site or node, and why. Then print the nodes that could not be read."""
    for awaits, held in _by_awaited(plan).items():
        console.print(Text(f"waits for {awaits}", "bold yellow"))
        for node, reason in dict.fromkeys((step.node, step.reason) for step in held if step.unknown):
            console.print(Text(f"  {node}").append(f"  {reason}", "dim"), soft_wrap=True)
        for step in (step for step in held if not step.unknown):
            console.print(Text(f"  {step.node}").append(f"  {step.reason}", "dim"), soft_wrap=True)
            _print_changes(step.changes, console, indent=4, differences=differences, node=step.node)
    if plan.unreachable:
        console.print(Text("not read", "bold red"))
        for node, reason in plan.unreachable:
            console.print(Text(f"  {node}  {reason.removeprefix(f'{node}: ')}"), soft_wrap=True)


def summary(plan: Plan) -> str:
    """The plan in one line: "5 changes on 3 nodes: 2 create, 3 restart." """
    if plan.empty and not plan.unreachable:
        return "Nothing to change."
    counts = counted(plan)
    total = sum(counts.values())
    nodes = len({step.node for step in plan.listed})
    verbs = ", ".join(f"{count} {verb}" for verb, count in counts.items())
    where = f" on {_number(nodes, 'node')}" if nodes else ""
    parts = [f"{_number(total, 'change')}{where}: {verbs}."] if total else ["Nothing can be changed now."]
    if plan.stopped:
        run = "it runs" if len(plan.stopped) == 1 else "they run"
        parts.append(f"On {_number(len(plan.stopped), 'stopped node')}, differences are also changed when {run}.")
    for awaits, held in _by_awaited(plan).items():
        waiting = sum(len(step.changes) for step in held if not step.unknown)
        if waiting:
            parts.append(f"{_number(waiting, 'change')} {'waits' if waiting == 1 else 'wait'} for {awaits}.")
    if plan.unreachable:
        parts.append(f"{_number(len(plan.unreachable), 'node')} could not be read, so the changes there are unknown.")
    return " ".join(parts)


def counted(plan: Plan) -> dict[str, int]:
    """The number of changes by verb, without changes on stopped nodes."""
    counts = Counter(change.verb for change in _changes(plan))
    verbs = [*(verb for verb in ORDER if verb in counts), *sorted(counts.keys() - set(ORDER))]
    return {verb.value: counts[verb] for verb in verbs}


def plan_json(plan: Plan, differences: Differences = NONE) -> dict[str, Any]:
    """The plan as plain data: verbs, targets and reasons, and `diff` if there are any lines of it.

    `stopped` has the nodes whose container is stopped. Their changes are in no list, because they can be compared only
    when they run.
    """
    return {
        "empty": plan.empty,
        "changes": counted(plan),
        "infrastructure": [_change_json(change) for change in plan.infrastructure],
        "steps": [
            {
                "component": step.component,
                "node": step.node,
                "group": step.group,
                "changes": [_change_json(change, step.node, differences) for change in step.changes],
            }
            for step in plan.listed
        ],
        "stopped": list(plan.stopped),
        "restarts": [_change_json(change) for change in plan.restarts],
        "waiting": [
            {
                "component": held.component,
                "node": held.node,
                "for": list(held.awaits),
                "reason": held.reason,
                "changes": [_change_json(each, held.node, differences) for each in held.changes if not held.unknown],
            }
            for held in plan.waiting
        ],
        "destructions": [change.destroys for change in plan.destructions],
        "unreachable": [{"node": node, "reason": reason} for node, reason in plan.unreachable],
    }


def _change_json(change: Change, node: str = "", differences: Differences = NONE) -> dict[str, Any]:
    data = {
        "verb": change.verb.value,
        "what": change.what,
        "target": {"kind": change.target.kind.value, "name": change.target.name},
        "reason": change.reason,
    }
    lines = differences.get((node, change.target.name))
    return {**data, "diff": list(lines)} if lines else data


def _changes(plan: Plan) -> Iterator[Change]:
    return chain(plan.infrastructure, chain.from_iterable(step.changes for step in plan.listed), plan.restarts)


def _by_component(plan: Plan) -> dict[str, dict[str, list[Change]]]:
    """The changes by component and node, both in the order in which the plan first names them."""
    grouped: dict[str, dict[str, list[Change]]] = {}
    for step in plan.listed:
        grouped.setdefault(step.component, {}).setdefault(step.node, []).extend(step.changes)
    return grouped


def _by_awaited(plan: Plan) -> dict[str, list[Held]]:
    """The waiting steps by the sites or nodes that they wait for."""
    grouped: dict[str, list[Held]] = {}
    for held in plan.waiting:
        grouped.setdefault(" and ".join(held.awaits), []).append(held)
    return grouped


def _print_changes(
    changes: Iterable[Change], console: Console, *, indent: int, differences: Differences = NONE, node: str = ""
) -> None:
    lines = list(changes)
    width = max((len(change.what) for change in lines), default=0)
    for change in lines:
        line = Text(" " * indent)
        line.append(f"{change.verb:<8}", COLORS.get(change.verb, "yellow"))
        line.append(f" {change.what:<{width}}  ")
        line.append(change.reason, "dim")
        console.print(line, soft_wrap=True)
        for text in differences.get((node, change.target.name), ()):
            console.print(Text(" " * (indent + 9)).append(text, SIGNS.get(text[:1], "dim")), soft_wrap=True)


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
