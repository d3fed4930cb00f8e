"""The tailnet's access controls in the lab's headscale.

They change while headscale runs: a node that joins has an address that was unknown before. So they are in headscale's
database, and a unit writes them there, when the file changes and at boot.
"""

from __future__ import annotations

from collections.abc import Iterable

from tercet.components.headscale.component import HEADSCALE, SOCKET, UNIT
from tercet.components.sandbox import PLAIN
from tercet.components.systemd import unit_file, unit_path
from tercet.converge.requests import Deferred
from tercet.converge.resources import File, Resource, Unit

FILE = "/etc/headscale/policy.json"
POLICY_UNIT = "tailnet-policy.service"


def applied(content: Deferred) -> Iterable[Resource]:
    yield File(FILE, content)
    yield File(
        unit_path(POLICY_UNIT),
        unit_file(
            "Access controls of the lab's tailnet",
            {
                "Type": "oneshot",
                "RemainAfterExit": "yes",
                "ExecStartPre": f"/bin/sh -c 'until [ -S {SOCKET} ]; do sleep 0.1; done'",
                "ExecStart": f"{HEADSCALE} policy set --file {FILE}",
                "TimeoutStartSec": 60,
            },
            sandbox=PLAIN,
            unit={"After": UNIT, "Wants": UNIT},
            restart=False,
        ),
    )
    yield Unit(POLICY_UNIT, restart_on=(FILE, unit_path(POLICY_UNIT)))
