"""Shows how the files that a plan updates differ from those on the nodes. Reads only; changes nothing.

A file with secrets is never shown as it is. Its wanted lines are shown with every secret masked. Its lines on the node
are only counted, because somebody else may have written unknown secrets into them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from tercet.components.derived import derived
from tercet.converge.observe import ask
from tercet.converge.plan import Held, Plan, Step
from tercet.converge.requests import Answer, Deferred, Exec, Request
from tercet.converge.resources import File
from tercet.converge.target import Verb
from tercet.operations.support.redact import Redactor, known_secrets
from tercet.session.session import Session

READ_TIMEOUT_S = 15.0
LARGEST = 256 * 1024
"""The greatest size in bytes of the wanted and of the found content."""
LONGEST = 40
"""The greatest number of lines that are shown of one difference."""

Differences = Mapping[tuple[str, str], tuple[str, ...]]
"""Lines by node and path: "+ wanted", "- found", "  the same" and "@@ … @@", or one sentence in parentheses."""


async def differences(session: Session, todo: Plan) -> Differences:
    """The differences of every file that this plan updates, on the nodes that answer."""
    parts: tuple[Step | Held, ...] = (*todo.listed, *(held for held in todo.waiting if not held.unknown))
    files = [
        (part.node, change.resource)
        for part in parts
        for change in part.changes
        if change.verb is Verb.UPDATE and isinstance(change.resource, File)
    ]
    questions: dict[str, dict[str, Request]] = {}
    for node, file in files:
        questions.setdefault(node, {})[file.path] = Exec(("head", "--bytes", str(LARGEST + 1), "--", file.path))
    readings = await ask(session.provider, questions, timeout=READ_TIMEOUT_S)
    redactor = Redactor(known_secrets(session.context.secrets, derived(session.context)))
    return {(node, file.path): difference(file, readings.get(node, file.path), redactor) for node, file in files}


def difference(file: File, found: Answer, redactor: Redactor) -> tuple[str, ...]:
    """The difference of one file, as in `Differences`; empty if only its owner or mode differs. Pure."""
    if isinstance(file.content, Deferred):
        return (f"(its content is known once {file.content.why})",)
    if not found.ok:
        return (f"(it cannot be read: {redactor.clean(found.why())})",)
    wanted, there = file.content.decode(errors="replace"), found.text
    if max(len(wanted), len(there)) > LARGEST:
        return ("(it is too long to be compared)",)
    lines = list(difflib.unified_diff(there.splitlines(), wanted.splitlines(), lineterm="", n=1))[2:]
    shown = [_shown(line, file.secret, redactor) for line in lines[:LONGEST]]
    more = len(lines) - len(shown)
    return (*shown, *([f"({more} more lines)"] if more else []))


def _shown(line: str, secret: bool, redactor: Redactor) -> str:
    if line.startswith("@@"):
        return line
    sign, text = line[0], line[1:]
    if secret and sign == "-":
        return "- (not shown: the file holds secrets)"
    return f"{sign} {redactor.clean(text)}"
