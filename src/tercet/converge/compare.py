"""Compares one resource with the observation of its node: the changes that it needs, each with its reason. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from tercet.converge.observe import NodeFacts, Observation, PathFact, UnitFact
from tercet.converge.plan import Change
from tercet.converge.requests import Deferred
from tercet.converge.resources import Absent, Directory, File, Object, Program, Resource, Unit
from tercet.converge.target import Verb
from tercet.converge.watch import Watch, covers, path_of

RUNNING = ("active", "reloading", "refreshing")
DEAD = ("inactive", "failed")
ENABLED = ("enabled", "static", "alias", "indirect", "generated", "transient")  # already enabled, or nothing to enable


@dataclass
class Seen:
    """One node while its changes are worked out.

    `facts` is None for a node that does not run; `new` means that it is created, otherwise it is stopped. `resources`
    has everything that is wanted on the node. `touched` collects the paths whose content changes, each with "changes"
    or "may change", and `changed` the names of the objects that change on any node.
    """

    observation: Observation
    facts: NodeFacts | None
    new: bool
    resources: Sequence[Resource]
    watches: Mapping[str, Watch]
    changed: set[str]
    touched: dict[str, str] = field(default_factory=dict)

    @property
    def stopped(self) -> bool:
        """Whether it exists but does not run, so that its contents are unknown."""
        return self.facts is None and not self.new

    def blank(self, verb: Verb, resource: Resource, reason: str) -> Change:
        """A change on a node that does not run. On a stopped node, the state is compared when the change is made."""
        if self.new:
            return change(verb, resource, reason)
        verb = Verb.UPDATE if verb is Verb.CREATE else verb
        return change(verb, resource, "unknown while the container is stopped")


def change(verb: Verb, resource: Resource, reason: str) -> Change:
    """One line of the plan."""
    return Change(verb, resource.target, reason, resource)


def compare(resource: Resource, seen: Seen) -> list[Change]:
    """The changes that this resource needs, in order; empty if its state is right."""
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
    if isinstance(content, Deferred):
        rendered = render(content, seen.observation)
        if rendered is None:
            seen.touched[file.path] = "may change"
            return [change(Verb.UPDATE if found else Verb.CREATE, file, f"content is known once {content.why}")]
        content = rendered
    if found and found.kind == "file" and found.sha256 == sha256(content).hexdigest():
        reasons = _ownership(file, found)
        return [change(Verb.UPDATE, file, ", ".join(reasons))] if reasons else []
    seen.touched[file.path] = "changes"
    if seen.facts is None:
        return [seen.blank(Verb.CREATE, file, "absent")]
    if found is None:
        return [change(Verb.CREATE, file, "absent")]
    reasons = ["content differs", *_ownership(file, found)] if found.kind == "file" else [_wrong_kind(found)]
    return [change(Verb.UPDATE, file, ", ".join(reasons))]


def render(content: Deferred, observation: Observation) -> bytes | None:
    """Deferred content if it can be rendered now, otherwise None."""
    needs = {node: request for node, request in content.needs.items() if node not in observation.unreachable}
    try:
        return content.render({node: observation.answer(node, request) for node, request in needs.items()})
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
        return [seen.blank(Verb.CREATE, directory, "absent")]
    found = seen.facts.paths[directory.path]
    if found is None:
        seen.touched[directory.path] = "changes"
        return [change(Verb.CREATE, directory, "absent")]
    if found.kind != "directory":
        return [change(Verb.UPDATE, directory, _wrong_kind(found))]
    reasons = _ownership(directory, found)
    changes = [change(Verb.UPDATE, directory, ", ".join(reasons))] if reasons else []
    if directory.purge:
        known = kept(directory, seen.resources)
        for name in found.entries:
            if name not in known:
                stranger = Absent(f"{directory.path}/{name}")
                seen.touched[stranger.path] = "changes"
                changes.append(change(Verb.REMOVE, stranger, "not managed here"))
    return changes


def kept(directory: Directory, resources: Iterable[Resource]) -> set[str]:
    """The names in a directory that belong to wanted resources."""
    wanted = (path_of(resource) for resource in resources if not isinstance(resource, Absent))
    inside = (path for path in wanted if path and path != directory.path and covers(directory.path, path))
    return {path.removeprefix(f"{directory.path}/").partition("/")[0] for path in inside}


def _absent(resource: Absent, path: str, seen: Seen) -> list[Change]:
    if seen.facts is None:
        seen.touched[path] = "may change"
        return [seen.blank(Verb.REMOVE, resource, "may come with the image")]
    if seen.facts.paths[path] is None:
        return []
    seen.touched[path] = "changes"
    return [change(Verb.REMOVE, resource, "must not be there")]


def _program(program: Program, seen: Seen) -> list[Change]:
    if seen.facts is None:
        seen.touched[program.link] = "may change"
        return [seen.blank(Verb.CREATE, program, "may come with the image")]
    found = seen.facts.paths[program.link]
    if found and found.target == program.binary and found.leads:
        return []
    seen.touched[program.link] = "changes"
    if found is None:
        return [change(Verb.CREATE, program, "absent")]
    if found.target == program.binary:
        return [change(Verb.UPDATE, program, "the program behind its link is missing")]
    return [change(Verb.UPDATE, program, f"is {found.target or f'a {found.kind}'}")]


def _unit(unit: Unit, seen: Seen) -> list[Change]:
    if seen.facts is None:
        return [
            seen.blank(Verb.ENABLE, unit, "not there yet"),
            seen.blank(Verb.START, unit, "not there yet"),
        ]
    found = seen.facts.units[unit.name]
    missing = found.load if found.load in ("masked", "not-found") else ""
    changes = []
    if found.file not in ENABLED:
        changes.append(change(Verb.ENABLE, unit, missing or found.file or "not enabled"))
    if found.active in RUNNING:
        verb, reason = _outdated(seen.watches[unit.name], found, seen.touched)
        if reason:
            changes.append(change(verb, unit, reason))
    else:
        detail = f", {found.sub}" if found.active == "activating" else ""
        changes.append(change(Verb.START, unit, f"not active ({missing or found.active}{detail})"))
    return changes


def _outdated(watch: Watch, found: UnitFact, touched: Mapping[str, str]) -> tuple[Verb, str]:
    """RESTART or RELOAD with the reason, if a running unit does not run with the files on disk; otherwise no reason."""
    reasons: dict[Verb, list[str]] = {Verb.RESTART: [], Verb.RELOAD: []}
    for path in watch.paths:
        verb = Verb.RELOAD if path in watch.reload else Verb.RESTART
        reasons[verb] += [f"its file {hit} {how}" for hit, how in touched.items() if covers(path, hit)]
    for path in found.stale:
        verb = Verb.RELOAD if path in watch.reload else Verb.RESTART
        reasons[verb].append(f"was started before {path} changed")
    if found.daemon_reload:
        reasons[Verb.RESTART].append("its unit file changed and systemd has not read it")
    verb = Verb.RESTART if reasons[Verb.RESTART] else Verb.RELOAD
    return verb, (*reasons[verb], "")[0]


def _unwanted_unit(unit: Unit, seen: Seen) -> list[Change]:
    if seen.facts is None:
        return [
            seen.blank(Verb.STOP, unit, "may come with the image"),
            seen.blank(Verb.DISABLE, unit, "may come with the image"),
        ]
    found = seen.facts.units[unit.name]
    changes = []
    if found.active not in DEAD:
        changes.append(change(Verb.STOP, unit, f"must not run ({found.active})"))
    if found.file.startswith("enabled"):
        changes.append(change(Verb.DISABLE, unit, "must not run"))
    return changes


def _object(wanted: Object, seen: Seen) -> list[Change]:
    if seen.facts is None:
        return [seen.blank(Verb.CHANGE, wanted, "not there yet")]
    reason = wanted.differs(seen.facts.answers[wanted.probe])
    if reason is None:
        how = {**dict.fromkeys(seen.changed, "changes"), **seen.touched}
        causes = [f"{name} {how[name]}" for name in wanted.follows if name in how]
        reason = causes[0] if causes else None
    return [change(Verb.CHANGE, wanted, reason)] if reason else []
