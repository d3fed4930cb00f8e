"""What Patroni runs in the place of pg_rewind: data that cannot be rewound is moved aside. See nodeside/rewind.py."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

from tercet.converge.resources import File, Resource

PG_REWIND = "/usr/lib/tercet/pg_rewind"
ASIDE, ASIDE_SETTINGS = "/usr/lib/tercet/aside.py", "/etc/tercet/aside.json"  # see components/patroni/aside.py
_PROGRAM = "/usr/lib/tercet/rewind.py"


def rewind(programs: str) -> Iterable[Resource]:
    """The files; `programs` is the directory of PostgreSQL's own."""
    source = files("tercet.nodeside").joinpath("rewind.py").read_bytes()
    # Patroni asks for --help each time it looks whether a rewind is possible, also amid a failover: no Python for that.
    # If Patroni is killed, its rewind must not go on: the next Patroni may start PostgreSQL on the same data.
    script = f"""#!/bin/sh
[ "$1" = --help ] && exec {programs}/pg_rewind --help
exec setpriv --pdeathsig KILL /usr/bin/python3 -I {_PROGRAM} {programs} {ASIDE} {ASIDE_SETTINGS} "$@"
"""
    yield File(_PROGRAM, source)
    yield File(PG_REWIND, script.encode(), mode=0o755)
