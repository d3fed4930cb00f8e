"""One resource against what was seen of its node: the changes it needs, each with its reason. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from tercet.converge.observe import NodeFacts, Observation, PathFact, UnitFact
from tercet.converge.plan import Change
from tercet.converge.requests import Late
from tercet.converge.resources import Absent, Directory, File, Object, Program, Resource, Unit
from tercet.converge.watch import Watch, covers, path_of

RUNNING = ("active", "reloading", "refreshing")
DEAD = ("inactive", "failed")
ENABLED = ("enabled", "static", "alias", "indirect", "generated", "transient")  # nothing to enable, or done


@dataclass
class Seen:
    """One node while its changes are worked out.

    `facts` is None for a node that does not run; `new` tells one that is created from one that is stopped.
    `resources` is all that is wanted on the node, `touched` collects the paths whose content changes, each with
    "changes" or "may change"; `changed` the names of the objects that change anywhere.
    """

    observation: Observation
    facts: NodeFacts | None
    new: bool
    resources: Sequence[Resource]
    watches: Mapping[str, Watch]
    changed: set[str]
    touched: dict[str, str] = field(default_factory=dict)

    def blank(self, verb: str, resource: Resource, reason: str) -> Change:
        """A change on a node that does not run: it is compared when it is made."""
        if self.new:
            return change(verb, resource, reason)
        return change("update" if verb == "create" else verb, resource, "unknown while the container is stopped")


def change(verb: str, resource: Resource, reason: str) -> Change:
    """One line of the plan."""
    return Change(verb, resource.what, reason, resource)


def compare(resource: Resource, seen: Seen) -> list[Change]:
    """The changes that this resource needs, in order; none if it is as wanted."""
    match resource:
        case File():
            return _file(resource, seen)
        case Directory():
            return _directory(resource, seen)
        case Absent(path=path):
            return _absent(resource, path, seen)
        case Program():
            return _program(resource, seen)
        case Unit(active=True):
            return _unit(resource, seen)
        case Unit():
            return _unwanted_unit(resource, seen)
        case Object():
            return _object(resource, seen)


def _file(file: File, seen: Seen) -> list[Change]:
    content = file.content
    found = seen.facts.paths[file.path] if seen.facts else None
    if isinstance(content, Late):
        rendered = render(content, seen.observation)
        if rendered is None:
            seen.touched[file.path] = "may change"
            return [change("update" if found else "create", file, f"content is known once {content.why}")]
        content = rendered
    if found and found.kind == "file" and found.sha256 == sha256(content).hexdigest():
        reasons = _ownership(file, found)
        return [change("update", file, ", ".join(reasons))] if reasons else []
    seen.touched[file.path] = "changes"
    if seen.facts is None:
        return [seen.blank("create", file, "absent")]
    if found is None:
        return [change("create", file, "absent")]
    reasons = ["content differs", *_ownership(file, found)] if found.kind == "file" else [_wrong_kind(found)]
    return [change("update", file, ", ".join(reasons))]


def render(late: Late, observation: Observation) -> bytes | None:
    """Late content as far as it can be known now; None if it cannot."""
    needs = {node: request for node, request in late.needs.items() if node not in observation.unreachable}
    try:
        return late.render({node: observation.answer(node, request) for node, request in needs.items()})
    except LookupError:
        return None


def _wrong_kind(found: PathFact) -> str:
    return f"a {found.kind} is in its place"


def _ownership(resource: File | Directory, found: PathFact) -> list[str]:
    reasons = []
    if found.mode != resource.mode:
        reasons.append(f"mode is {found.mode:04o}, not {resource.mode:04o}")
    if (found.owner, found.group) != (resource.owner, resource.group):
        reasons.append(f"owner is {found.owner}:{found.group}, not {resource.owner}:{resource.group}")
    return reasons


def _directory(directory: Directory, seen: Seen) -> list[Change]:
    if seen.facts is None:
        seen.touched[directory.path] = "changes"
        return [seen.blank("create", directory, "absent")]
    found = seen.facts.paths[directory.path]
    if found is None:
        seen.touched[directory.path] = "changes"
        return [change("create", directory, "absent")]
    if found.kind != "directory":
        return [change("update", directory, _wrong_kind(found))]
    reasons = _ownership(directory, found)
    changes = [change("update", directory, ", ".join(reasons))] if reasons else []
    if directory.purge:
        known = kept(directory, seen.resources)
        for name in found.entries:
            if name not in known:
                stranger = Absent(f"{directory.path}/{name}")
                seen.touched[stranger.path] = "changes"
                changes.append(change("remove", stranger, "not managed here"))
    return changes


def kept(directory: Directory, resources: Iterable[Resource]) -> set[str]:
    """The names in a directory that belong to something wanted."""
    wanted = (path_of(resource) for resource in resources if not isinstance(resource, Absent))
    inside = (path for path in wanted if path and path != directory.path and covers(directory.path, path))
    return {path.removeprefix(f"{directory.path}/").partition("/")[0] for path in inside}


def _absent(resource: Absent, path: str, seen: Seen) -> list[Change]:
    if seen.facts is None:
        seen.touched[path] = "may change"
        return [seen.blank("remove", resource, "may come with the image")]
    if seen.facts.paths[path] is None:
        return []
    seen.touched[path] = "changes"
    return [change("remove", resource, "must not be there")]


def _program(program: Program, seen: Seen) -> list[Change]:
    if seen.facts is None:
        seen.touched[program.link] = "may change"
        return [seen.blank("create", program, "may come with the image")]
    found = seen.facts.paths[program.link]
    if found and found.target == program.target and found.leads:
        return []
    seen.touched[program.link] = "changes"
    if found is None:
        return [change("create", program, "absent")]
    if found.target == program.target:
        return [change("update", program, "the program behind its link is missing")]
    return [change("update", program, f"is {found.target or f'a {found.kind}'}")]


def _unit(unit: Unit, seen: Seen) -> list[Change]:
    if seen.facts is None:
        return [
            seen.blank("enable", unit, "not there yet"),
            seen.blank("start", unit, "not there yet"),
        ]
    found = seen.facts.units[unit.name]
    missing = found.load if found.load in ("masked", "not-found") else ""
    changes = []
    if found.file not in ENABLED:
        changes.append(change("enable", unit, missing or found.file or "not enabled"))
    if found.active in RUNNING:
        verb, reason = _outdated(seen.watches[unit.name], found, seen.touched)
        if reason:
            changes.append(change(verb, unit, reason))
    else:
        detail = f", {found.sub}" if found.active == "activating" else ""
        changes.append(change("start", unit, f"not active ({missing or found.active}{detail})"))
    return changes


def _outdated(watch: Watch, found: UnitFact, touched: Mapping[str, str]) -> tuple[str, str]:
    """restart or reload, and the reason, if a running unit will not run with what is on disk; else no reason."""
    reasons: dict[str, list[str]] = {"restart": [], "reload": []}
    for path in watch.paths:
        verb = "reload" if path in watch.reload else "restart"
        reasons[verb] += [f"its file {hit} {how}" for hit, how in touched.items() if covers(path, hit)]
    for path in found.stale:
        verb = "reload" if path in watch.reload else "restart"
        reasons[verb].append(f"was started before {path} changed")
    if found.daemon_reload:
        reasons["restart"].append("its unit file changed and systemd has not read it")
    verb = "restart" if reasons["restart"] else "reload"
    return verb, (*reasons[verb], "")[0]


def _unwanted_unit(unit: Unit, seen: Seen) -> list[Change]:
    if seen.facts is None:
        return [
            seen.blank("stop", unit, "may come with the image"),
            seen.blank("disable", unit, "may come with the image"),
        ]
    found = seen.facts.units[unit.name]
    changes = []
    if found.active not in DEAD:
        changes.append(change("stop", unit, f"must not run ({found.active})"))
    if found.file.startswith("enabled"):
        changes.append(change("disable", unit, "must not run"))
    return changes


def _object(wanted: Object, seen: Seen) -> list[Change]:
    if seen.facts is None:
        return [seen.blank("change", wanted, "not there yet")]
    reason = wanted.differs(seen.facts.answers[wanted.probe])
    if reason is None:
        causes = [name for name in wanted.follows if name in seen.changed or name in seen.touched]
        reason = f"{causes[0]} changes" if causes else None
    return [change("change", wanted, reason)] if reason else []
