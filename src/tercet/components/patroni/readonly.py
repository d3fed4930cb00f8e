"""PostgreSQL without Patroni, read-only, while `dcs` is silent: a site that is cut off goes on reading.

Patroni starts no PostgreSQL while `dcs` is silent. It waits in its own start, and so does the gate before it
(components/patroni/component.py). So a database node at a site that is cut off would answer no read from the moment its
PostgreSQL goes down, for as long as the cut lasts: after a fence, a crash, a reboot (seen: no read for 51 s of a cut of
60 s, because the old primary's Patroni was killed while it demoted).

The gate starts `tercet-readonly.service` then. Invariants:

- It takes no write: the server is started as a standby, with standby.signal. So nobody else's lead is touched, and what
  Patroni finds later is what its own demotion leaves behind where `dcs` is silent: a standby that follows nobody.
- It is started only where no Patroni runs and none can start meanwhile. Two programs that work on one data directory
  are a danger: Patroni rewinds it.
- It is not started on data that a rewind left half-written, nor where an operator paused Patroni, who may have stopped
  PostgreSQL by hand, nor where `dcs` answers that it knows no cluster (docs/recovery.md).

Patroni takes the running server over, as it does after a restart of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from tercet.components.systemd import Value, unit_file, unit_path
from tercet.converge.resources import File, Resource
from tercet.datafile import text_of

UNIT = "tercet-readonly.service"
PROGRAM = "/usr/lib/tercet/postgresql-readonly"


def readonly(programs: str, data: str) -> Iterable[Resource]:
    """The files; `programs` is the directory of PostgreSQL's own. Nobody but the gate starts the unit."""
    script = text_of(__package__, "readonly.sh", PROGRAMS=programs, DATA=data)
    yield File(PROGRAM, script.encode(), mode=0o755)
    service: dict[str, Value] = {
        "Type": "exec",
        "User": "postgres",
        "Group": "postgres",
        "Nice": -5,  # as Patroni's
        "ExecStart": f"{PROGRAM} start",
        "KillMode": "mixed",
        "KillSignal": "SIGINT",  # a fast shutdown
        "TimeoutStopSec": 30,
    }
    # At a shutdown Patroni goes first, as with a server that it started itself.
    order = {"After": "tailnet-ready.service", "Before": "patroni.service"}
    title = "PostgreSQL, read-only, while dcs is silent"
    yield File(unit_path(UNIT), unit_file(title, service, unit=order, restart=False, wanted=False))
