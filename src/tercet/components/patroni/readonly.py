"""PostgreSQL without Patroni, read-only, while `dcs` is silent: so a site that is cut off still serves reads.

Patroni does not start PostgreSQL while `dcs` is silent: Patroni waits when it starts, and so does the gate before it
(components/patroni/component.py). So if PostgreSQL goes down at a site that is cut off, after a fence, a crash or a
reboot, the node would answer no read for the rest of the cut (seen: no reads for 51 s of a cut of 60 s, because the old
primary's Patroni was killed during its demotion).

In this case the gate starts `tercet-readonly.service`. Invariants:
- It takes no writes: the server is started as a standby, with standby.signal. So it cannot conflict with another
  primary, and Patroni later finds the same state as after its own demotion without `dcs`: a standby that follows no
  primary.
- It is started only if no Patroni runs and none can start meanwhile, because two programs must not work on one data
  directory: Patroni rewinds it.
- It is not started on data that a rewind left half-written, nor if an operator paused Patroni and may have stopped
  PostgreSQL by hand, nor if `dcs` answers that it knows no cluster (docs/recovery.md).

Patroni takes over the running server, as after a restart of Patroni itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from tercet.components.sandbox import Sandbox
from tercet.components.systemd import Value, unit_file, unit_path
from tercet.converge.resources import File, Resource
from tercet.datafile import text_of

UNIT = "tercet-readonly.service"
PROGRAM = "/usr/lib/tercet/postgresql-readonly"


def readonly(programs: str, data: str, sandbox: Sandbox) -> Iterable[Resource]:
    """The files. `programs` is the directory of PostgreSQL's programs, `sandbox` its sandbox in Patroni's unit. Only
    the gate starts the unit.
    """
    script = text_of(__package__, "readonly.sh", PROGRAMS=programs, DATA=data)
    yield File(PROGRAM, script.encode(), mode=0o755)
    service: dict[str, Value] = {
        "Type": "exec",
        "User": "postgres",
        "Group": "postgres",
        "Nice": -5,  # the same as Patroni's
        "ExecStart": f"{PROGRAM} start",
        "KillMode": "mixed",
        "KillSignal": "SIGINT",  # a fast shutdown
        "TimeoutStopSec": 30,
    }
    # At a shutdown, Patroni stops first, as with a server that it started itself.
    order = {"After": "tailnet-ready.service", "Before": "patroni.service"}
    title = "PostgreSQL, read-only, while dcs is silent"
    yield File(unit_path(UNIT), unit_file(title, service, sandbox=sandbox, unit=order, restart=False, wanted_by=""))
