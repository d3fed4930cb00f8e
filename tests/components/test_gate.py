"""The gate before Patroni: a primary that stepped down lets another node lead first, but does not wait forever."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tercet.datafile import text_of
from tests.nodeside.delivery import replace_program

SCRIPT = (
    *("RECORD", "CONFIG", "CONFIGS", "DATA", "KEEPALIVES", "PERMISSION", "BOOTSTRAP"),
    *("ASIDE", "ASIDE_SETTINGS"),
    *("READONLY", "READONLY_UNIT", "SILENT_S", "SILENT_AT_BOOT_S", "SILENT_LOOKS"),
)


def answer(folder: Path, call: str, curl: str, creating: Path | str = "x") -> bool:
    """Whether a call of the gate's functions succeeds, with `curl` as the script of that program."""
    values = dict.fromkeys(SCRIPT, "x") | {"CREATING": str(creating), "RECORDED": "http://dcs/initialize"}
    script = text_of(
        "tercet.components.patroni", "may-start.sh", LEADER="http://dcs/leader", SYNC="http://dcs/sync",
        STEPPED_DOWN=str(folder / "stepped-down"), STEPPED_DOWN_S=10, **values,
    )  # fmt: skip
    functions = re.findall(r"^\w+\(\) \{.*?\}$", script, re.DOTALL | re.MULTILINE)
    names = [function.split("(")[0] for function in functions]
    assert names == ["now", "ask", "another_leads", "begin", "broken_off", "begin_again"]
    replace_program(folder, "curl", curl)
    replace_program(folder, "uname", "echo db-1")
    environment = {"PATH": f"{folder}:/usr/bin:/bin"}
    code = "\n".join((*functions, call))
    return subprocess.run(["sh", "-c", code], env=environment, timeout=20, check=False).returncode == 0


def leads(folder: Path, *, leader: str, sync: str = '{"sync_standby":"db-2"}', waited: int = 0) -> bool:
    """Whether the gate's function says that another node leads, for these answers of dcs; "" for none."""
    answers = f"*leader*) said='{leader}' ;; *sync*) said='{sync}' ;;"
    curl = f'case "$*" in {answers} esac; [ -n "$said" ] && echo "$said"'
    return answer(folder, f"let_lead=10 began=$(($(now) - {waited})); another_leads", curl)


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


@pytest.mark.parametrize("said", ["7657089203423442344200", "200", "404", "000", "rpc error: no leader500"])
@pytest.mark.parametrize("creates", [False, True])
def test_only_a_record_ends_a_creation(tmp_path: Path, said: str, creates: bool) -> None:
    """While this node creates the cluster, an empty record in dcs, or none, means that this was broken off."""
    if creates:
        (tmp_path / "creating").touch()
    curl = f"printf %s '{said}'"
    known = said.endswith("4200") or (said == "200" and not creates)
    assert answer(tmp_path, "ask", curl, tmp_path / "creating") is known
    broken = creates and said in ("200", "404")
    assert answer(tmp_path, "ask; broken_off", curl, tmp_path / "creating") is broken
