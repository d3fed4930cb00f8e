"""Who may take over is decided before anything happens, from the status alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tercet.components.patroni.status import MemberStatus, PostgresStatus
from tercet.errors import TercetError
from tercet.inventory.load import load
from tercet.inventory.platform import Platform
from tercet.operations.switchover import choose


def member(
    node: str, role: str = "standby", state: str = "streaming", lag: int | None = 0, sync: bool = True
) -> MemberStatus:
    return MemberStatus(node=node, role=role, state=state, lag_bytes=lag, sync=sync)


def cluster(*standbys: MemberStatus, primary: str | None = "db-sib-01") -> PostgresStatus:
    members = [member("db-sib-01", "primary", "running", None, False), *standbys]
    return PostgresStatus(primary=primary, members=members, writable=True)


def test_the_standby_that_lags_least_takes_over(platform: Platform) -> None:
    postgres = cluster(member("db-sib-03", lag=500), member("db-fsn-01", lag=20))
    assert choose(platform, postgres, None) == ("db-sib-01", "db-fsn-01")
    assert choose(platform, postgres, "sib-03") == ("db-sib-01", "db-sib-03")


@pytest.mark.parametrize(
    ("unfit", "why"),
    [
        (member("db-sib-03", state="starting"), "is starting"),
        (member("db-sib-03", sync=False), "does not count for commits"),
        (member("db-sib-03", lag=None), "unknown"),
        (member("db-sib-03", lag=2_000_000), "2000000 bytes"),
    ],
)
def test_an_unfit_standby_is_refused(platform: Platform, unfit: MemberStatus, why: str) -> None:
    with pytest.raises(TercetError, match=why):
        choose(platform, cluster(unfit), "sib-03")
    with pytest.raises(TercetError, match=why):
        choose(platform, cluster(unfit), None)
    assert choose(platform, cluster(unfit, member("db-fsn-01")), None)[1] == "db-fsn-01"


def test_the_lag_that_is_too_much_is_the_inventory_s(inventory_file: Path) -> None:
    text = inventory_file.read_text(encoding="utf-8")
    lagging = cluster(member("db-sib-03", lag=2_000_000))
    inventory_file.write_text(f"{text}\npatroni:\n  maximum_lag_on_failover: 4000000\n", encoding="utf-8")
    assert choose(load(inventory_file), lagging, "sib-03") == ("db-sib-01", "db-sib-03")
    inventory_file.write_text(f"{text}\npatroni:\n  maximum_lag_on_failover: 1000\n", encoding="utf-8")
    with pytest.raises(TercetError, match="lags by 2000 bytes"):
        choose(load(inventory_file), cluster(member("db-sib-03", lag=2000)), None)


@pytest.mark.parametrize(
    ("site", "why"), [("sib-01", "already"), ("nowhere", "no site nowhere"), ("fsn-01", "not a member")]
)
def test_a_wrong_target_is_refused(platform: Platform, site: str, why: str) -> None:
    with pytest.raises(TercetError, match=why):
        choose(platform, cluster(member("db-sib-03")), site)


def test_without_a_primary_there_is_nothing_to_switch(platform: Platform) -> None:
    with pytest.raises(TercetError, match="no primary"):
        choose(platform, cluster(member("db-sib-03"), primary=None), None)
