"""Carries out the changes of a plan on this node, in order, up to the first one that fails.

Each change is first compared with what exists. If the target already has the desired state, it is not touched, and
nothing is restarted for it.
"""

from __future__ import annotations

import fcntl
import grp
import itertools
import os
import pwd
import shutil
from base64 import b64decode
from typing import Any

from tercet.nodeside.agent import stamps
from tercet.nodeside.agent.facts import NodeError, fact, sha256, show
from tercet.nodeside.agent.requests import ask, execute

UNIT_FILES = "/etc/systemd/"
# Links are made without systemd: after an `enable --no-reload`, systemd reports NeedDaemonReload for every unit, and
# each unit would be restarted as if its file had changed.
OFFLINE = "--root=/"
UNIT_LIMIT = 60  # seconds for a unit to start, stop or reload; a database's shutdown is the slowest
DEAD = ("inactive", "failed")
DONE, UNCHANGED, FAILED = "done", "unchanged", "failed"  # results of a change


class Node:
    """This node while it is changed. `watch` has every managed unit with the paths that it watches."""

    def __init__(self, watch: dict[str, list[str]]) -> None:
        self.watch = watch
        self.unit_files_changed = False

    # Every method named after a change returns True if it changed something. Methods for several units return an
    # outcome for each.

    def file(self, path: str, content: str, mode: int, owner: str, group: str) -> bool:
        data = b64decode(content)
        found = fact(path, "content")
        if found and found["kind"] == "directory":
            raise NodeError("a directory is in its place")
        if found and found.get("sha256") == sha256(data):
            return own(path, found, mode, owner, group)
        self.about_to_change(path)
        place(path, data, mode, ids(owner, group))
        return True

    def directory(self, path: str, mode: int, owner: str, group: str, keep: list[str] | None) -> bool:
        """Only the names in `keep` may be in the directory; None allows all."""
        found = fact(path, "entries")
        if found and found["kind"] != "directory":
            raise NodeError(f"a {found['kind']} is in its place")
        if not found:
            self.about_to_change(path)
            os.mkdir(path, 0o700)
        changed = own(path, found or {}, mode, owner, group)
        strangers = [name for name in found["entries"] if name not in keep] if found and keep is not None else []
        for name in strangers:
            changed |= self.remove(os.path.join(path, name))
        return changed

    def remove(self, path: str) -> bool:
        if not fact(path):
            return False
        self.about_to_change(path)
        discard(path)
        return True

    def link(self, path: str, target: str) -> bool:
        found = fact(path)
        if found and found.get("target") == target and found["leads"]:
            return False
        if not os.path.exists(target):
            raise NodeError(f"{target} is missing")
        self.about_to_change(path)
        temporary = beside(path)
        os.symlink(target, temporary)
        os.replace(temporary, path)
        return True

    def stop(self, unit: str) -> bool:
        return show([unit])[unit]["ActiveState"] not in DEAD and systemctl("stop", unit)

    def disable(self, unit: str) -> bool:
        if not show([unit])[unit]["UnitFileState"].startswith("enabled"):
            return False
        systemctl("disable", OFFLINE, unit)
        self.remembered([unit], "disabled")
        return True

    def enable(self, units: list[str]) -> list[dict[str, str]]:
        """All in one call, because most of the time of systemctl is the call itself."""
        states = {unit: state["UnitFileState"] for unit, state in show(units).items()}
        if masked := [unit for unit in units if states[unit].startswith("masked")]:
            systemctl("unmask", OFFLINE, *masked)
        if missing := [unit for unit in units if states[unit] != "enabled"]:
            systemctl("enable", OFFLINE, *missing)
            self.remembered(missing, "enabled")
        return [outcome(unit in missing) for unit in units]

    def remembered(self, units: list[str], wanted: str) -> None:
        """Make systemd read its files again: it keeps a unit as it was when it was loaded."""
        self.unit_files_changed |= any(state["UnitFileState"] != wanted for state in show(units).values())

    def run(self, units: list[dict[str, Any]]) -> list[dict[str, str]]:
        """Start, restart or reload units in parallel, as each needs it.

        A unit is {"name", "reload": paths for which a reload is enough, "gently": never restart it}.
        """
        names = [unit["name"] for unit in units]
        before = show(names)
        if self.unit_files_changed or any(state["NeedDaemonReload"] == "yes" for state in before.values()):
            self.reload_daemon()
            before = show(names)
        verbs = {unit["name"]: verb for unit in units if (verb := needed(unit, before[unit["name"]], self.watch))}
        digests = {name: stamps.current(self.watch[name]) for name in verbs}
        for name in verbs:
            if before[name]["ActiveState"] in DEAD:
                stamps.write(name, digests[name])
            if before[name]["ActiveState"] == "failed":
                systemctl("reset-failed", name)
        calls = [{"argv": ["systemctl", verb, name], "data": "", "timeout": UNIT_LIMIT} for name, verb in verbs.items()]
        answers = dict(zip(verbs, ask(calls)(), strict=True))
        after = show(verbs)
        for unit in units:
            name = unit["name"]
            if name in verbs and after[name]["InvocationID"] != before[name]["InvocationID"]:
                stamps.write(name, digests[name])
            elif verbs.get(name) == "reload" and answers[name]["status"] == 0:
                reloaded = {path: digests[name][path] for path in unit["reload"]}
                stamps.write(name, {**(stamps.read(name) or digests[name]), **reloaded})
        problems = {name: judge(verb, answers[name], after[name]) for name, verb in verbs.items()}
        return [outcome(name in verbs, problems.get(name, "")) for name in names]

    def about_to_change(self, path: str) -> None:
        """Invariant: called before the content of any path changes."""
        for unit, watched in self.watch.items():
            for above in watched:
                if path == above or path.startswith(above + "/"):
                    stamps.mark(unit, watched, above)
        # systemd reads a new file when its unit is first used. A reload takes 0.2 s of a core, more than all else that
        # is done on a new node.
        self.unit_files_changed |= path.startswith(UNIT_FILES) and os.path.lexists(path)

    def reload_daemon(self) -> None:
        for unit, state in show(self.watch).items():
            if state["NeedDaemonReload"] == "yes":
                stamps.mark(unit, self.watch[unit], "its unit file")
        systemctl("daemon-reload")
        self.unit_files_changed = False


def needed(unit: dict[str, Any], state: dict[str, str], watch: dict[str, list[str]]) -> str | None:
    """The verb of systemctl that the unit needs now; None if it runs with the files on disk."""
    if state["ActiveState"] in (*DEAD, "deactivating"):
        return "start"
    if state["SubState"] == "auto-restart":
        return "restart"
    old = stamps.stale(unit["name"], watch[unit["name"]])
    if any(path not in unit["reload"] for path in old) and not unit["gently"]:
        return "restart"
    if any(path in unit["reload"] for path in old):
        return "reload"
    return "start" if state["ActiveState"] == "activating" else None  # to wait for it


def judge(verb: str, answered: dict[str, Any], state: dict[str, str]) -> str:
    """What is wrong with the unit; "" if it runs or is still starting, which its gate watches."""
    if state["ActiveState"] in ("failed", "inactive"):
        return f"it is {state['ActiveState']} after its {verb} (result: {state['Result']})"
    if state["ActiveState"] == "deactivating":
        return f"it has not stopped within {UNIT_LIMIT} s"
    if verb == "reload" and answered["status"] != 0:
        return f"its reload failed: {answered['error'].strip()}"
    return ""


def systemctl(*words: str) -> bool:
    """Run systemctl. Raises NodeError if it fails."""
    answered = execute(["systemctl", *words], timeout=UNIT_LIMIT)
    if answered["status"] != 0:
        raise NodeError(f"systemctl {' '.join(words)}: {(answered['error'] or answered['text']).strip()}")
    return True


def own(path: str, found: dict[str, Any], mode: int, owner: str, group: str) -> bool:
    """Give a path this mode and owner, if it has others."""
    if (found.get("mode"), found.get("owner"), found.get("group")) == (mode, owner, group):
        return False
    os.chown(path, *ids(owner, group))
    os.chmod(path, mode)
    return True


def ids(owner: str, group: str) -> tuple[int, int]:
    """The numbers of a user and a group."""
    try:
        return pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError:
        raise NodeError(f"there is no user {owner} or no group {group}") from None


def place(path: str, data: bytes, mode: int, owner: tuple[int, int]) -> None:
    """Write a file. Its path always has the complete old or new file, never with a wrong owner or mode."""
    temporary = beside(path)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        os.fchown(file.fileno(), *owner)
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def beside(path: str) -> str:
    """A name in the same directory for a temporary file. It is always the same, so a rest of a killed run is
    removed.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.tercet")
    discard(temporary)
    return temporary


def discard(path: str) -> None:
    """Remove a file, or a directory with everything in it."""
    found = fact(path)
    if found and found["kind"] == "directory":
        shutil.rmtree(path)
    elif found:
        os.unlink(path)


def do(changes: list[dict[str, Any]], watch: dict[str, list[str]]) -> list[dict[str, str]]:
    """One outcome per change, in order, up to the first one that failed.

    A change is {"do": the name of one of Node's methods, …its parameters}. For `run` and `enable`, a change is one
    unit, and consecutive units are handled together.
    """
    node = Node(watch)
    outcomes: list[dict[str, str]] = []
    try:
        for kind, alike in itertools.groupby(changes, key=lambda change: change.pop("do")):
            if kind == "enable":
                outcomes += node.enable([change["unit"] for change in alike])
                continue
            if kind == "run":
                outcomes += node.run(list(alike))
                if any(one["made"] == FAILED for one in outcomes):
                    return outcomes
                continue
            with Alone():
                for change in alike:
                    outcomes.append(outcome(getattr(node, kind)(**change)))
        if node.unit_files_changed:
            node.reload_daemon()
    except (OSError, NodeError) as error:
        outcomes.append({"made": FAILED, "reason": str(error)})
    return outcomes


class Alone:
    """Carry out one request at a time: two components may bring the same directory or program to a node."""

    def __enter__(self) -> None:
        os.makedirs(os.path.dirname(stamps.STAMPS), mode=0o700, exist_ok=True)
        self._lock = os.open(os.path.join(os.path.dirname(stamps.STAMPS), "lock"), os.O_WRONLY | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)


def outcome(changed: bool, problem: str = "") -> dict[str, str]:
    """The outcome of a change, in the form that converge/node.py reads."""
    return {"made": FAILED if problem else DONE if changed else UNCHANGED, "reason": problem}
