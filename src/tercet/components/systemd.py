"""Makes systemd unit files from data, with the common settings of all units of the platform.

All have `StartLimitIntervalSec=0` and `Restart=always`, because a unit that gives up stays down after a power cut
(measured: 90 s instead of 16 s from the start to the first write). All are enabled and not started by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tercet.components.sandbox import Sandbox

Value = str | int | Sequence[str]

# The control plane must get CPU when a busy application uses both cores. Otherwise Consul agents suspect each other and
# hold elections (seen at 8,000 inserts/s).
CONTROL_PLANE: Mapping[str, Value] = {"Nice": -10, "CPUWeight": 1000, "IOWeight": 1000}

RESTART_MS = 500  # milliseconds after which a unit that ended is started again

# Units that bind to the tailnet address must not start before it exists; see components/tailscale/component.py.
NEEDS_TAILNET: Mapping[str, Value] = {"Wants": "tailnet-ready.service", "After": "tailnet-ready.service"}


def unit_file(
    description: str,
    service: Mapping[str, Value],
    *,
    sandbox: Sandbox | None,
    unit: Mapping[str, Value] | None = None,
    restart: bool = True,
    wanted_by: str = "multi-user.target",
) -> bytes:
    """A service unit. A sequence is written as one line per item. Without a `sandbox`, its processes may do everything.
    The unit starts with the node as a part of `wanted_by`; if that is empty, another unit starts it.
    """
    confined = sandbox.settings() if sandbox else {}
    restarts: Mapping[str, Value] = {"Restart": "always", "RestartSec": f"{RESTART_MS}ms"} if restart else {}
    sections: list[tuple[str, Mapping[str, Value]]] = [
        ("Unit", {"Description": description, "StartLimitIntervalSec": 0, **(unit or {})}),
        # In the lab, what says nothing of its priority has PID 1's, which is the control plane's (docs/lab.md).
        ("Service", {**service, "Nice": service.get("Nice", 0), **restarts, **confined}),
        *([("Install", {"WantedBy": wanted_by})] if wanted_by else []),
    ]
    lines: list[str] = []
    for title, values in sections:
        lines.append(f"[{title}]")
        for key, value in values.items():
            many = [value] if isinstance(value, (str, int)) else value
            lines.extend(f"{key}={one}" for one in many)
        lines.append("")
    return "\n".join(lines).encode()


def unit_path(name: str) -> str:
    """The path of a unit file of tercet, which hides the distribution's unit of the same name."""
    return f"/etc/systemd/system/{name}"
