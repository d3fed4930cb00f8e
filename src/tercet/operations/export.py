"""Writes what only a returned node's WAL has to a folder of the operator: the segments, and their contents as text.

Invariant: a node's folder is complete or does not exist. It is first written under another name, and is on the disk
before it gets its final name.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tercet.components.patroni.component import AS_POSTGRES, BIN, DATA
from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Unreachable
from tercet.datafile import text_of
from tercet.errors import TercetError
from tercet.observe.beyond import Returned
from tercet.observe.reach import lsn
from tercet.session.session import Session

PHASE = "export"
FILE_S = 120.0  # seconds for one segment, at most 16 MB by default, over a slow link


async def export(session: Session, databases: Sequence[Returned], to: Path, emit: Emit) -> tuple[Path, ...]:
    """Write a folder for each node with data that others do not have, and return the folders. An existing folder is not
    changed. Raises TercetError if data cannot be read or written; then nothing was moved aside.
    """
    written: list[Path] = []
    for each in databases:
        folder = to / each.node
        if each.size == 0:
            continue
        if not await asyncio.to_thread(folder.exists):
            text = f"{each.size} bytes of WAL in {len(each.segments)} segments"
            emit(Event(PHASE, "progress", f"{text} are written to {folder}", each.node))
            await _one(session, each, folder)
        written.append(folder)
    return tuple(written)


async def _one(session: Session, each: Returned, folder: Path) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)
        await asyncio.to_thread(partial.mkdir, parents=True, mode=0o700)
        about = text_of(
            __package__,
            "export-about.txt",
            NODE=each.node,
            FORK=lsn(each.fork),
            SIZE=each.size,
            COMMITS=each.commits,
            FIRST=each.first or "-",
            LAST=each.last or "-",
        )
        await asyncio.to_thread(_write, partial / "README.txt", about.encode())
        await asyncio.to_thread(_write, partial / "commits.txt", each.listing.encode())
        for name in (*each.segments, *each.histories):
            content = await _read(session, each.node, f"cat {DATA}/pg_wal/{name}")
            await asyncio.to_thread(_write, partial / name, content)
        for name in each.segments:
            # pg_waldump ends with an error at the end of WAL; its output until then is complete.
            dump = f"{{ {' '.join(AS_POSTGRES)} {BIN}/pg_waldump -p {DATA}/pg_wal {name} {name} 2>&1 || :; }} | gzip -c"
            await asyncio.to_thread(_write, partial / f"{name}.txt.gz", await _read(session, each.node, dump))
        await asyncio.to_thread(_settle, partial, folder)
    except OSError as error:
        raise TercetError(
            f"expected to write what only {each.node} had to {folder}, found {error.strerror}: make room or name "
            "another place. Nothing was moved aside; run this again"
        ) from None


async def _read(session: Session, node: str, script: str) -> bytes:
    try:
        done = await session.provider.run(node, ("sh", "-c", script), timeout=FILE_S)
    except Unreachable as error:
        raise TercetError(f"{error}. Nothing was moved aside; run this again") from error
    if done.status != 0:
        said = done.stderr.decode(errors="replace").strip() or f"exit status {done.status}"
        raise TercetError(
            f"{node}: {script.rsplit(maxsplit=1)[-1]} cannot be read: {said}. Nothing was moved aside; run this again"
        )
    return done.stdout


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _settle(partial: Path, folder: Path) -> None:
    partial.rename(folder)
    for path in (folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
