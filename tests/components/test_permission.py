"""The scripts that decide who may create the Raft of `dcs` and the database cluster, in folders of the test's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tercet.components import permission
from tercet.components.context import Context
from tercet.components.dcs import component as dcs
from tercet.components.patroni import component as patroni
from tercet.components.patroni import readonly
from tercet.converge.resources import File
from tercet.inventory.platform import Role


def before_start(root: Path) -> None:
    script = dcs._BEFORE_START.replace("/var/lib", str(root))
    subprocess.run(["sh", "-c", script], check=True, timeout=30)


def give(path: Path, fragment: bytes) -> None:
    request = permission.give(str(path), fragment)
    assert isinstance(request.stdin, bytes)
    subprocess.run(request.argv, input=request.stdin, check=True, timeout=30)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "consul-dcs").mkdir()
    return tmp_path


def test_the_permission_is_kept_beside_the_raft_and_lost_with_it(root: Path) -> None:
    given = root / "tercet" / "dcs-bootstrap.json"
    kept = root / "consul-dcs" / "bootstrap" / "dcs-bootstrap.json"
    give(given, b'{"bootstrap_expect": 3}')
    before_start(root)
    assert kept.read_bytes() == b'{"bootstrap_expect": 3}' and not given.exists()
    before_start(root)  # broken off before there was a Raft, and started again
    assert kept.exists()
    (root / "consul-dcs" / "raft").rmdir()
    before_start(root)
    assert not kept.exists()


def test_a_server_without_the_permission_has_an_empty_folder_for_it(root: Path) -> None:
    before_start(root)
    assert list((root / "consul-dcs" / "bootstrap").iterdir()) == []


@pytest.fixture
def gate(context: Context, tmp_path: Path) -> str:
    """The gate of a database node, whose `dcs` knows the cluster once there is a file `recorded`, and says else what is
    in the file `status`: at first that it knows none. A file `started` has what systemd was asked to start."""
    node = context.platform.of(Role.DB)[0]
    (script,) = [r for r in patroni.Patroni(context).desired(node) if isinstance(r, File) and r.path == patroni.GATE]
    text = script.content.decode() if isinstance(script.content, bytes) else ""
    programs = tmp_path / "programs"
    programs.mkdir()
    (tmp_path / "status").write_text("404")
    fakes = {
        "curl": f"""
            case $* in *DELETE*) echo 404 > {tmp_path}/status ;; esac
            if [ -e {tmp_path}/recorded ]; then echo 7657089203423442344200; else cat {tmp_path}/status; fi
        """,
        "chown": ":",
        "pkill": "exit 1",
        "setpriv": f"mv {tmp_path}{patroni.DATA} {tmp_path}/aside",
        "systemctl": f'[ "$1" != start ] || echo "$2" >> {tmp_path}/started',
        "postgresql-readonly": f"[ ! -e {tmp_path}/started ]",
    }
    for name, does in fakes.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    text = text.replace(readonly.PROGRAM, f"{programs}/postgresql-readonly")
    for path in (patroni.DATA, patroni.CONFIG, patroni.CONFIGS, patroni.KEEPALIVES, patroni.PERMISSION):
        text = text.replace(path, f"{tmp_path}{path}")
    (tmp_path / patroni.DATA[1:]).mkdir(parents=True)
    (tmp_path / "run").mkdir()
    return f"PATH={programs}:$PATH\n{text.replace(f'{tmp_path}{tmp_path}', str(tmp_path))}"


def opens(gate: str, seconds: float = 1) -> bool:
    try:
        return subprocess.run(["sh", "-c", gate], timeout=seconds, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def test_a_node_with_data_waits_until_dcs_knows_the_cluster(gate: str, tmp_path: Path) -> None:
    (tmp_path / patroni.DATA[1:] / "PG_VERSION").write_text("17")
    give(tmp_path / patroni.PERMISSION[1:], b"bootstrap: {}")
    assert not opens(gate)  # the permission is to create a cluster, not to lead one
    (tmp_path / "recorded").touch()
    assert opens(gate)
    assert not (tmp_path / patroni.PERMISSION[1:]).exists()  # nothing is to be created any more


def test_an_empty_node_waits_for_a_cluster_or_for_the_permission_to_create_one(gate: str, tmp_path: Path) -> None:
    assert not opens(gate)
    give(tmp_path / patroni.PERMISSION[1:], b"bootstrap: {}")
    assert opens(gate) and opens(gate)
    assert (tmp_path / patroni.BOOTSTRAP[1:]).read_bytes() == b"bootstrap: {}"
    (tmp_path / patroni.BOOTSTRAP[1:]).unlink()  # used up
    (tmp_path / patroni.CREATING[1:]).unlink()  # the cluster is complete
    assert not opens(gate)


@pytest.mark.parametrize("status", ["404", "200"])  # dcs knows no cluster, or has the record that Patroni makes first
def test_a_creation_that_was_broken_off_begins_again(gate: str, tmp_path: Path, status: str) -> None:
    give(tmp_path / patroni.PERMISSION[1:], b"bootstrap: {}")
    assert opens(gate)
    (tmp_path / patroni.DATA[1:] / "PG_VERSION").write_text("17")
    (tmp_path / patroni.BOOTSTRAP[1:]).unlink()
    (tmp_path / "status").write_text(status)
    assert opens(gate)
    assert (tmp_path / "aside" / "PG_VERSION").exists() and not (tmp_path / patroni.DATA[1:]).exists()
    assert (tmp_path / patroni.BOOTSTRAP[1:]).read_bytes() == b"bootstrap: {}"


def test_a_database_that_had_a_standby_is_not_taken_for_half_made(gate: str, tmp_path: Path) -> None:
    give(tmp_path / patroni.PERMISSION[1:], b"bootstrap: {}")
    assert opens(gate)
    (tmp_path / patroni.DATA[1:] / "PG_VERSION").write_text("17")
    (tmp_path / patroni.DATA[1:] / "pg_replslot" / "db_2").mkdir(parents=True)
    assert not opens(gate)  # dcs lost what it knew: that needs a person
    assert (tmp_path / patroni.DATA[1:] / "PG_VERSION").exists()
    assert not (tmp_path / patroni.CREATING[1:]).exists()


def test_where_dcs_is_silent_reads_go_on_after_some_seconds(gate: str, tmp_path: Path) -> None:
    (tmp_path / patroni.DATA[1:] / "PG_VERSION").write_text("17")
    (tmp_path / "status").write_text("500")
    assert not opens(gate, 5)
    assert not (tmp_path / "started").exists()  # after a boot agents take some time to find each other
    assert not opens(gate, 5)
    assert (tmp_path / "started").read_text() == f"{readonly.UNIT}\n"
    (tmp_path / "recorded").touch()
    assert opens(gate)


def test_a_dcs_that_lost_what_it_knew_is_not_silent(gate: str, tmp_path: Path) -> None:
    (tmp_path / patroni.DATA[1:] / "PG_VERSION").write_text("17")
    (tmp_path / patroni.KEEPALIVES[1:]).parent.mkdir()
    (tmp_path / patroni.KEEPALIVES[1:]).touch()
    assert not opens(gate, 5)
    assert not (tmp_path / "started").exists()
