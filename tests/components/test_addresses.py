"""Programs that listen at an address that their node no longer has."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tercet.components.context import Context
from tercet.components.tailscale.addresses import Addresses
from tercet.converge.requests import Exec
from tercet.converge.resources import Object

OWN = "7: tailscale0    inet 100.64.0.10/32 scope global tailscale0"
# What ss prints of the tailnet's sockets; 12 to 16 are the numbers of processes.
SOCKETS = """\
LISTEN 0 4096 100.64.0.9:8301 0.0.0.0:* users:(("consul",pid=12,fd=7))
LISTEN 0 4096 100.64.0.9:8302 0.0.0.0:* users:(("consul",pid=12,fd=8))
LISTEN 0 4096 100.64.0.9:8008 0.0.0.0:* users:(("patroni",pid=13,fd=4))
LISTEN 0 4096 100.64.0.9:5432 0.0.0.0:* users:(("postgres",pid=14,fd=4))
LISTEN 0 4096 100.64.0.9:20000 0.0.0.0:* users:(("job",pid=15,fd=4))
LISTEN 0 4096 100.64.0.10:48588 0.0.0.0:* users:(("tailscaled",pid=16,fd=21))
"""
GROUPS = {
    12: "1:cpu:/\n0::/system.slice/consul.service",
    13: "0::/system.slice/patroni.service",
    14: "0::/system.slice/patroni.service",
    15: "0::/nomad.slice/share.slice/job.scope",
    16: "0::/system.slice/tailscaled.service",
}


@pytest.fixture
def script(context: Context) -> str:
    (wanted,) = Addresses(context).desired(context.platform.nodes[0])
    assert isinstance(wanted, Object) and isinstance(wanted.probe, Exec)
    return wanted.probe.argv[-1]


def run(script: str, folder: Path, own: str, *words: str) -> list[str]:
    """The lines that the script prints, with tools that say what this node has."""
    tools = {
        "ip": f"echo '{own}'",
        "ss": f"[ \"$*\" = '-4Hltnp src 100.64.0.0/10' ] && cat <<'END'\n{SOCKETS}END",
        "systemctl": 'case "$*" in show*consul*) echo 12 ;; show*) echo 13 ;; *) echo "systemctl $*" ;; esac',
    }
    for name, text in tools.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    for number, group in GROUPS.items():
        (folder / str(number)).mkdir()
        (folder / str(number) / "cgroup").write_text(f"{group}\n")
    for there, here in {"/proc/": f"{folder}/", "/run/": f"{folder}/", "kill -INT": "echo kill"}.items():
        script = script.replace(there, here)
    done = subprocess.run(
        ["sh", "-c", script, "sh", *words],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ((), ["consul.service at 100.64.0.9", "patroni.service at 100.64.0.9"]),
        (("restart",), ["kill 14", "systemctl restart --no-block consul.service patroni.service"]),
    ],
)
def test_each_unit_is_named_once_and_a_job_is_left_alone(
    script: str, tmp_path: Path, words: tuple[str, ...], lines: list[str]
) -> None:
    assert run(script, tmp_path, OWN, *words) == lines


@pytest.mark.parametrize("words", [(), ("restart",)])
def test_without_an_address_in_the_tailnet_nothing_is_restarted(
    script: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert run(script, tmp_path, "", *words) == []
