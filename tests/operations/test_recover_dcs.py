"""What `recover dcs` writes into the new Raft."""

from __future__ import annotations

from tercet.components.patroni.component import Patroni
from tercet.observe.reach import Reach
from tercet.operations.recover_dcs import remembered
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
