"""`tercet support`: logs, configuration and state of every node as one archive without secrets.

Invariants
- The archive is written only after its bytes before compression were searched for every known secret, and none was
  found.
- It is complete or does not exist, and only its owner can read it.
- A question without an answer costs only its own time limit. The archive lists what is missing.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from json import dumps
from pathlib import Path

import tercet
from tercet.components.derived import derived
from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Unreachable
from tercet.converge.resources import File
from tercet.errors import TercetError
from tercet.inventory.credentials import read_credential
from tercet.inventory.platform import Node
from tercet.inventory.providers import declarations
from tercet.operations.change import make_plan
from tercet.operations.support.questions import COMMAND_S, QUESTIONS, of_role
from tercet.operations.support.redact import Redactor, known_secrets
from tercet.session.session import Session

NODE_S = 90.0
"""The time limit of one node in seconds."""
PLAN_S = 60.0
CONFIGURATION_LIMIT = 1 << 20  # bytes of one file
PHASE = "support"


@dataclass
class Bundle:
    """The archive's members by path, redacted, and a list of what is missing."""

    redactor: Redactor
    members: dict[str, bytes] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def add(self, path: str, text: str) -> None:
        self.members[self.redactor.clean(path)] = self.redactor.clean(text).encode("utf-8", "replace")


async def write_bundle(session: Session, path: Path, emit: Emit) -> tuple[str, ...]:
    """Collect the data and write the archive. Returns what is missing in it, one line each. Raises TercetError."""
    began = time.monotonic()
    emit(Event(PHASE, "started", f"collecting from {len(session.platform.containers)} nodes"))
    credentials, unread = _credentials(session)
    bundle = Bundle(Redactor(known_secrets(session.context.secrets, {**derived(session.context), **credentials})))
    bundle.missing += unread
    _add_operator(session, bundle)
    await _add_plan(session, bundle)
    async with asyncio.TaskGroup() as tasks:
        for node in session.platform.containers:
            tasks.create_task(_add_node(session, node, bundle, emit))
    bundle.add("missing.txt", "".join(f"{line}\n" for line in bundle.missing) or "nothing\n")
    await asyncio.to_thread(_write, path, bundle)
    emit(Event(PHASE, "done", f"{path}: {path.stat().st_size / 1e6:.1f} MB", seconds=time.monotonic() - began))  # noqa: ASYNC240
    return tuple(bundle.missing)


def _credentials(session: Session) -> tuple[dict[str, str], list[str]]:
    """The inventory's credentials by their use, and a line for each that cannot be read, and so not searched for.

    A credential's command is not run, because it may ask the user. No node ever stores a credential.
    """
    tailnet, found, unread = session.platform.settings.tailnet, dict[str, str](), list[str]()
    sources = {"auth key of the tailnet": tailnet.auth_key, "API key of the tailnet": tailnet.api_key}
    for provider in declarations():
        sources |= provider.credentials(session.platform.settings.of(provider))
        for site in session.platform.settings.sites if provider.per_site else ():
            at_site = provider.credentials(site.of(provider))
            sources |= {f"{what} of {site.name}": source for what, source in at_site.items()}
    for what, source in sources.items():
        try:
            if source is not None and source.startswith("command:"):
                unread.append(f"the {what}, which could not be looked for: it comes from a command")
            elif source is not None:
                found[what] = read_credential(source, what)
        except TercetError as error:
            unread.append(f"the {what}, which could not be looked for: {error}")
    return found, unread


def _add_operator(session: Session, bundle: Bundle) -> None:
    """The files next to the inventory, except the secrets."""
    for file in (session.file, session.lock_file):
        try:
            bundle.add(f"operator/{file.name}", file.read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            bundle.missing.append(f"{file}: {error.strerror}")
    bundle.add("operator/version.txt", f"tercet {tercet.__version__}, {time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n")


async def _add_plan(session: Session, bundle: Bundle) -> None:
    """The output of `status` and `plan`."""
    snapshot = await session.snapshot()
    bundle.add("state/status.json", snapshot.model_dump_json(indent=2))
    try:
        async with asyncio.timeout(PLAN_S):
            plan = await make_plan(session)
            active = await session.provider.faults.faults_active()
    except TimeoutError:
        bundle.missing.append(f"the plan: not made within {PLAN_S:g} s")
        return
    except TercetError as error:
        bundle.missing.append(f"the plan: {error}")
        return
    lines = [f"{change}: {change.reason}" for change in (*plan.infrastructure, *plan.restarts)]
    lines += [f"{step.node}: {change}: {change.reason}" for step in plan.listed for change in step.changes]
    lines += [f"{node}: stopped; its changes are known only when it runs" for node in plan.stopped]
    lines += [f"{node}: {reason}" for node, reason in plan.unreachable]
    bundle.add("state/plan.txt", "".join(f"{line}\n" for line in lines) or "nothing to change\n")
    bundle.add("state/faults.json", dumps([asdict(fault) for fault in active], indent=2))


async def _add_node(session: Session, node: Node, bundle: Bundle, emit: Emit) -> None:
    began = time.monotonic()
    try:
        async with asyncio.timeout(NODE_S):
            await _ask_node(session, node, bundle)
    except TimeoutError:
        bundle.missing.append(f"{node.name}: the rest, because {NODE_S:g} s were over")
        emit(Event(PHASE, "progress", f"given up after {NODE_S:g} s", node.name, time.monotonic() - began))
    except Unreachable as error:
        bundle.missing.append(str(error))
        emit(Event(PHASE, "progress", f"skipped: {error}", node.name, time.monotonic() - began))
    else:
        emit(Event(PHASE, "progress", "collected", node.name, time.monotonic() - began))


async def _ask_node(session: Session, node: Node, bundle: Bundle) -> None:
    """Ask the questions; each has its own file. Raises Unreachable if the node does not answer at all."""
    answered = False
    for name, script in {**QUESTIONS, **of_role(node.role, session)}.items():
        try:
            done = await session.provider.run(node.name, ("sh", "-c", script), timeout=COMMAND_S)
        except Unreachable as error:
            if not answered:
                raise
            bundle.missing.append(f"{node.name}/{name}: {error}")
            continue
        answered = True
        bundle.add(f"{node.name}/{name}", done.stdout.decode("utf-8", "replace"))
        if done.status:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            bundle.missing.append(f"{node.name}/{name}: status {done.status}: {said[-1] if said else 'without output'}")
    await _add_configuration(session, node, bundle)


async def _add_configuration(session: Session, node: Node, bundle: Bundle) -> None:
    """The files that tercet writes, as they are on the node."""
    paths = [r.path for component in session.components for r in component.desired(node) if isinstance(r, File)]
    words = ("tar", "--create", "--ignore-failed-read", "--absolute-names", "--file=-", *dict.fromkeys(paths))
    try:
        done = await session.provider.run(node.name, words, timeout=COMMAND_S)
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    text = content.read(CONFIGURATION_LIMIT).decode("utf-8", "replace")
                    bundle.add(f"{node.name}/files/{member.name.lstrip('/')}", text)
    except (Unreachable, tarfile.TarError) as error:
        bundle.missing.append(f"{node.name}/files: {error}")


def _write(path: Path, bundle: Bundle) -> None:
    """Check that no secret is in the archive, then write it."""
    raw = archive_of(bundle.members)
    leaked = bundle.redactor.leaks(raw)
    if leaked:
        raise TercetError(
            f"expected a support bundle without secrets, found {', '.join(leaked)} in it: nothing was written. "
            "A secret that is a common word cannot be told from other text; otherwise this is a bug of tercet"
        )
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(gzip.compress(raw))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise TercetError(
            f"expected to write the support bundle to {path}, found {error.strerror}: make room or name another place"
        ) from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def archive_of(members: Mapping[str, bytes]) -> bytes:
    """A tar file of these members, readable by their owner alone."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in sorted(members.items()):
            entry = tarfile.TarInfo(f"tercet-support/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
