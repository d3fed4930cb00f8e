"""Moves a node's database aside, lists what was moved, and removes it: oldest first, when it is too old or space is
low.

Run by nodeside/rewind.py for data that cannot be rewound, by `tercet-aside.timer` once a minute, and by `tercet status`
and `tercet aside`; always as PostgreSQL's own user.

Invariants: a database is moved by one rename on the same file system, with a mark in it that says why, and only if no
server runs in it. A directory is removed only if it is next to the data, has a name that `move` gives, belongs to this
user, is on the same file system, contains a mark that names it, and no server runs in it. The mark is written before
the rename and removed last, so that both operations can be interrupted anywhere.

Arguments: a JSON file {"data": …, "programs": …, "keep_days": …, "min_free_percent": …}, then one of

    move REASON    move the database aside
    list           print {"free_percent": …, "aside": [{"name", "path", "bytes", "moved", "reason"}, …]}, oldest first
    clean          remove what is older than keep_days, and more while less than min_free_percent of the disk is free
    remove NAME    remove this one
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

MARK = "tercet-aside.json"
NAME = re.compile(r"\.aside-\d{8}T\d{6}Z-timeline-(\d+|unknown)", re.ASCII)  # follows the data directory's own name
DAY_S = 86400.0


@dataclass(frozen=True)
class Aside:
    """One directory: its size on the disk in `bytes`, the time of the move `moved` (seconds since 1970), and the
    reason.
    """

    name: str
    path: str
    bytes: int
    moved: int
    reason: str


def timeline(programs: str, data: Path) -> str:
    """The timeline of the data according to its control file; "unknown" if that cannot be read."""
    argv = [f"{programs}/pg_controldata", "-D", str(data)]
    done = subprocess.run(argv, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False)
    found = re.search(r"^Latest checkpoint's TimeLineID: +(\d+)$", done.stdout, re.MULTILINE)
    return found[1] if found else "unknown"


def why_not(data: Path) -> str:
    """The reason why this directory must not be moved; "" if it may be moved."""
    if not (data / "PG_VERSION").is_file():
        return "it holds no database"
    linked = [path for path in (data / "pg_wal", *(data / "pg_tblspc").iterdir()) if path.is_symlink()]
    if linked:
        return f"{linked[0]} leads out of it, and would be left behind"
    return "PostgreSQL runs in it" if in_use(data) else ""


def size(data: Path) -> int:
    """The number of bytes that a directory uses on the disk."""
    return sum(
        os.lstat(os.path.join(folder, name)).st_blocks * 512 for folder, _, files in os.walk(data) for name in files
    )


def sync(path: Path) -> None:
    """Sync a file or a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move(data: Path, on_timeline: str, reason: str, now: float) -> Path:
    """Rename the directory and return its new path. Raises OSError, and then it is still in its old place."""
    name = f"{data.name}.aside-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}-timeline-{on_timeline}"
    mark = {"name": name, "moved": int(now), "bytes": size(data), "reason": reason}
    (data / MARK).write_text(json.dumps(mark) + "\n", encoding="utf-8")
    sync(data / MARK)
    sync(data)
    target = data.rename(data.with_name(name))
    sync(data.parent)
    return target


def examine(data: Path, name: str) -> Aside | str:
    """The directory of that name next to `data`, or the reason why it is not known to be one that was moved aside."""
    path = data.with_name(name)
    if not name.startswith(data.name) or not NAME.fullmatch(name[len(data.name) :]):
        return f"expected a name such as {data.name}.aside-20261126T162300Z-timeline-3, found {name}"
    try:
        found, parent = os.lstat(path), os.lstat(data.parent)
        if not stat.S_ISDIR(found.st_mode) or (found.st_uid, found.st_dev) != (os.geteuid(), parent.st_dev):
            return f"{path} is no directory of this user on the same file system"
        descriptor = os.open(path / MARK, os.O_RDONLY | os.O_NOFOLLOW)
        with open(descriptor, encoding="utf-8") as file:
            mark = json.load(file)
        aside = Aside(str(mark["name"]), str(path), int(mark["bytes"]), int(mark["moved"]), str(mark["reason"]))
    except FileNotFoundError as error:
        return f"there is no {error.filename}"
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"{path / MARK} cannot be read: {error!r}"
    return aside if aside.name == name else f"{path / MARK} names {aside.name}"


def all_aside(data: Path) -> list[Aside]:
    """Everything that was moved aside, oldest first."""
    found = (examine(data, name) for name in os.listdir(data.parent))
    return sorted((each for each in found if isinstance(each, Aside)), key=lambda each: (each.moved, each.name))


def in_use(path: str | Path) -> bool:
    """Whether a PostgreSQL server runs in the directory: its processes have it as their working directory."""
    inside = os.path.realpath(path)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text() == "postgres\n" and os.readlink(process / "cwd") == inside:
                return True
        except OSError:  # the process is gone, or belongs to another user
            continue
    return False


def remove(aside: Aside, why: str) -> bool:
    """Remove the directory, its mark last, and log the reason. False if PostgreSQL runs in it."""
    if in_use(aside.path):
        print(f"{aside.path} stays: PostgreSQL runs in it", file=sys.stderr)
        return False
    with os.scandir(aside.path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            elif entry.name != MARK:
                os.unlink(entry.path)
    os.unlink(os.path.join(aside.path, MARK))
    os.rmdir(aside.path)
    print(f"removed {aside.path} ({aside.bytes} bytes): {why}", flush=True)
    return True


def free_percent(data: Path) -> float:
    """The percentage of the disk that is free for this user."""
    disk = os.statvfs(data.parent)
    return 100.0 * disk.f_bavail / disk.f_blocks


@contextmanager
def alone(data: Path) -> Iterator[None]:
    """Keep other runs of this program from removing anything meanwhile."""
    folder = os.open(data.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def clean(data: Path, keep_days: float, min_free_percent: float, now: float) -> None:
    """Remove directories that are due. While the node has no database, none is removed because of its age: it may be
    the last copy.
    """
    for aside in all_aside(data):
        if free_percent(data) < min_free_percent:
            remove(aside, f"{free_percent(data):.1f} % of the disk is free, {min_free_percent:g} % must be")
        elif now - aside.moved >= keep_days * DAY_S and (data / "PG_VERSION").is_file():
            remove(aside, f"it was moved aside {keep_days:g} days ago")


def moved(data: Path, programs: str, reason: str) -> int:
    """Move the database aside and print the result. Returns the exit status."""
    if refused := why_not(data):
        print(f"{data} is not moved aside: {refused}", file=sys.stderr)
        return 1
    try:
        target = move(data, timeline(programs, data), reason, time.time())
    except OSError as error:
        print(f"{data} cannot be moved aside: {error}", file=sys.stderr)
        return 1
    print(f"{data} was moved aside to {target}: {reason}", file=sys.stderr)
    return 0


def main(config: dict[str, object], words: list[str]) -> int:
    """Run the program. Returns its exit status."""
    data = Path(str(config["data"]))
    match words:
        case ["move", reason]:
            return moved(data, str(config["programs"]), reason)
        case ["list"]:
            print(json.dumps({"free_percent": free_percent(data), "aside": [asdict(each) for each in all_aside(data)]}))
        case ["clean"]:
            with alone(data):
                clean(data, float(str(config["keep_days"])), float(str(config["min_free_percent"])), time.time())
        case ["remove", name]:
            with alone(data):
                found = examine(data, name)
                if isinstance(found, str):
                    print(found, file=sys.stderr)
                    return 1
                return 0 if remove(found, "an operator said so") else 1
        case _:
            print("expected move REASON, list, clean or remove NAME", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as settings:
        sys.exit(main(json.load(settings), sys.argv[2:]))
