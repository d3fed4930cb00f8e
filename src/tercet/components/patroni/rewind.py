"""The programs that Patroni runs instead of pg_rewind and postgres: data that cannot be rewound is moved aside, and a
server does not start on half-written data. See nodeside/rewind.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

from tercet.converge.resources import File, Resource
from tercet.datafile import text_of

PG_REWIND, POSTGRES = "/usr/lib/tercet/pg_rewind", "/usr/lib/tercet/postgres"
ASIDE, ASIDE_SETTINGS = "/usr/lib/tercet/aside.py", "/etc/tercet/aside.json"  # see components/patroni/aside.py
_PROGRAM = "/usr/lib/tercet/rewind.py"
# Patroni tries to start PostgreSQL every 3 s. A leader that it cannot reach is replaced within this time.
_REFUSALS = 10


def rewind(programs: str, data: str, leader: str) -> Iterable[Resource]:
    """The files. `programs` is the directory of PostgreSQL's programs, `data` that of its data, `leader` the
    words for curl that ask for the holder of the leader key.
    """
    source = files("tercet.nodeside").joinpath("rewind.py").read_bytes()
    paths = {"PROGRAMS": programs, "ASIDE": ASIDE, "ASIDE_SETTINGS": ASIDE_SETTINGS}
    yield File(_PROGRAM, source)
    yield File(PG_REWIND, text_of(__package__, "rewind.sh", REWIND=_PROGRAM, **paths).encode(), mode=0o755)
    start = text_of(__package__, "postgres.sh", DATA=data, LEADER=leader, REFUSALS=_REFUSALS, **paths)
    yield File(POSTGRES, start.encode(), mode=0o755)
