"""The gate before Patroni: a primary that stepped down lets another node lead first, but does not wait for ever; and
the sessions from before a loss of power end.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tercet.datafile import text_of
from tests.nodeside.delivery import replace_program

SCRIPT = (
    *("RECORDED", "CONFIG", "CONFIGS", "DATA", "KEEPALIVES", "PERMISSION", "BOOTSTRAP"),
    *("READONLY", "READONLY_UNIT", "SILENT_S", "SILENT_AT_BOOT_S", "SILENT_LOOKS"),
)


def functions(folder: Path) -> list[str]:
    """The functions of the script, for the answers of a `dcs` that the test stands for."""
    script = text_of(
        "tercet.components.patroni", "may-start.sh",
        LEADER="http://dcs/leader", SYNC="http://dcs/sync", SESSIONS="http://dcs/sessions",
        END_SESSION="http://dcs/destroy", STEPPED_DOWN=str(folder / "stepped-down"), STEPPED_DOWN_S=10,
        **dict.fromkeys(SCRIPT, "x"),
    )  # fmt: skip
    found = re.findall(r"^\w+\(\) \{.*?\}$", script, re.DOTALL | re.MULTILINE)
    assert [function.split("(")[0] for function in found] == ["now", "ask", "another_leads", "end_old_sessions"]
    return found


def leads(folder: Path, *, leader: str, sync: str = '{"sync_standby":"db-2"}', waited: int = 0) -> bool:
    """Whether the gate's function says that another node leads, for these answers of dcs; "" for none."""
    answers = f"*leader*) said='{leader}' ;; *sync*) said='{sync}' ;;"
    replace_program(folder, "curl", f'case "$*" in {answers} esac; [ -n "$said" ] && echo "$said"')
    replace_program(folder, "uname", "echo db-1")
    code = "\n".join((*functions(folder), f"let_lead=10 began=$(($(now) - {waited}))", "another_leads"))
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


@pytest.mark.skipif(not shutil.which("jq"), reason="needs jq")
@pytest.mark.parametrize(
    ("postgresql_ran", "sessions", "ended"),
    [
        ("", '[{"ID":"s-1"},{"ID":"s-2"}]', ["s-1", "s-2"]),
        ("", "[]", []),
        ("", "", []),  # dcs is silent
        ("249", '[{"ID":"s-1"}]', []),  # only Patroni restarts
    ],
)
def test_sessions_from_before_a_loss_of_power_end(
    tmp_path: Path, postgresql_ran: str, sessions: str, ended: list[str]
) -> None:
    put = tmp_path / "put"
    answers = f"*PUT*) echo \"$*\" >> {put}; exit ;; *sessions*) said='{sessions}' ;;"
    replace_program(tmp_path, "curl", f'case "$*" in {answers} esac; [ -n "$said" ] && echo "$said"')
    code = "\n".join((*functions(tmp_path), f"postgresql_ran={postgresql_ran}", "end_old_sessions"))
    subprocess.run(["sh", "-c", code], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, timeout=20, check=True)
    calls = put.read_text().splitlines() if put.exists() else []
    assert [call.rpartition("http://dcs/destroy/")[2] for call in calls] == ended
