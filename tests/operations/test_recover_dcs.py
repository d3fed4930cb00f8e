"""What `recover dcs` writes into the new Raft, and how it stops PostgreSQL."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tercet.components.patroni import component as patroni
from tercet.components.patroni import readonly
from tercet.components.patroni.component import Patroni
from tercet.observe.reach import Reach
from tercet.operations.recover_dcs import STOP_POSTGRES, remembered
from tercet.session.session import Session


def test_patroni_finds_what_was_true_of_every_acknowledged_write(opened: Session) -> None:
    cluster = Patroni(opened.context)
    leader = Reach("db-fsn-01", "7", 3, 4242, ((1, 100), (2, 4000)))
    keys = remembered(opened.platform, cluster, leader)
    # Any one of the two had each commit, so another one leads only with the vote of one more.
    assert keys["sync"] == {"leader": "db-fsn-01", "sync_standby": "db-sib-01,db-sib-03", "quorum": 1}
    assert keys["status"] == {"optime": 4242}
    # Patroni takes the last line's timeline plus one for the cluster's, and lets no older one lead.
    assert [line[:2] for line in keys["history"]] == [[1, 100], [2, 4000]]  # type: ignore[attr-defined]
    assert keys["config"] == cluster.dynamic()


# Stops the units at the same time, as systemd does, and Patroni's as the last one: its gate starts the other unit then.
SYSTEMCTL = f"""#!/bin/sh
case "$*" in *{readonly.UNIT}*) rm -f $STATE/runs ;; esac
case "$*" in *{patroni.UNIT}*) touch $STATE/runs ;; esac
"""


def test_a_postgresql_that_the_gate_starts_at_the_last_moment_is_stopped_too(tmp_path: Path) -> None:
    program = tmp_path / "systemctl"
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "STATE": str(tmp_path)}
    subprocess.run(["sh", "-c", STOP_POSTGRES], env=environment, timeout=30, check=True)
    assert not (tmp_path / "runs").exists()
