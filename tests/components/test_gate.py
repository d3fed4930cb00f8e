"""The gate before Patroni: a primary that stepped down lets another node lead first, but does not wait forever."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tercet.datafile import text_of
from tests.nodeside.delivery import replace_program

SCRIPT = (
    *("RECORDED", "CONFIG", "CONFIGS", "DATA", "KEEPALIVES", "PERMISSION", "BOOTSTRAP"),
    *("READONLY", "READONLY_UNIT", "SILENT_S", "SILENT_AT_BOOT_S", "SILENT_LOOKS"),
)


def leads(folder: Path, *, leader: str, sync: str = '{"sync_standby":"db-2"}', waited: int = 0) -> bool:
    """Whether the gate's function says that another node leads, for these answers of dcs; "" for none."""
    mark = folder / "stepped-down"
    values = dict.fromkeys(SCRIPT, "x")
    script = text_of(
        "tercet.components.patroni", "may-start.sh",
        LEADER="http://dcs/leader", SYNC="http://dcs/sync", STEPPED_DOWN=str(mark), STEPPED_DOWN_S=10, **values,
    )  # fmt: skip
    functions = re.findall(r"^\w+\(\) \{.*?\}$", script, re.DOTALL | re.MULTILINE)
    assert [function.split("(")[0] for function in functions] == ["now", "ask", "another_leads"]
    answers = f"*leader*) said='{leader}' ;; *sync*) said='{sync}' ;;"
    replace_program(folder, "curl", f'case "$*" in {answers} esac; [ -n "$said" ] && echo "$said"')
    replace_program(folder, "uname", "echo db-1")
    code = "\n".join((*functions, f"let_lead=10 began=$(($(now) - {waited}))", "another_leads"))
    environment = {"PATH": f"{folder}:/usr/bin:/bin"}
    return subprocess.run(["sh", "-c", code], env=environment, timeout=20, check=False).returncode == 0


def test_without_the_mark_nobody_waits(tmp_path: Path) -> None:
    assert leads(tmp_path, leader="")


@pytest.mark.parametrize(
    ("leader", "sync", "waited", "starts"),
    [
        ("", '{"sync_standby":"db-2"}', 0, False),
        ("db-1", '{"sync_standby":"db-2"}', 0, False),
        ("", "", 0, False),  # dcs is silent
        ("db-2", '{"sync_standby":"db-1"}', 0, True),
        ("", '{"sync_standby":null}', 0, True),  # only this node may lead
        ("", '{"sync_standby":"db-2"}', 11, True),
    ],
)
def test_after_a_step_down_it_waits_for_another_leader(
    tmp_path: Path, leader: str, sync: str, waited: int, starts: bool
) -> None:
    (tmp_path / "stepped-down").touch()
    assert leads(tmp_path, leader=leader, sync=sync, waited=waited) is starts
