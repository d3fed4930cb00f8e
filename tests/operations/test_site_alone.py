"""What is said before the last site goes on alone, and when that is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tercet.components.context import Context
from tercet.components.patroni.component import Patroni
from tercet.components.registry import components
from tercet.converge.component import Readings
from tercet.converge.requests import Answer
from tercet.errors import TercetError
from tercet.inventory.platform import Platform
from tercet.inventory.secrets import peek
from tercet.inventory.timing import timing_of
from tercet.observe.reach import Reach
from tercet.operations import shutout
from tercet.operations.recover_dcs import remembered
from tercet.operations.shutout import peers
from tercet.operations.site_alone import Known, SiteState, alone, refuse
from tercet.session.session import Session

LOST = ("sib-01", "sib-03")
FOUND = SiteState("fsn-01", LOST, Reach("db-fsn-01", "7", 1, 100))


def knowing(leader: str, *standbys: str, quorum: int = 1, optime: int = 0) -> SiteState:
    return dataclasses.replace(FOUND, known=Known(leader, standbys, quorum, optime))


def test_the_last_primary_lacks_only_what_was_written_without_it() -> None:
    found = knowing("db-fsn-01", "db-sib-01", "db-sib-03", optime=900)
    assert found.missing == 0 and "was the primary" in found.doubt


def test_a_standby_lacks_at_least_what_the_primary_had_told() -> None:
    found = knowing("db-sib-01", "db-sib-03", "db-fsn-01", optime=160)
    assert found.missing == 60 and "lacks at least 60 bytes of WAL of the primary db-sib-01" in found.doubt


def test_a_standby_that_had_all_may_lack_what_another_one_confirmed() -> None:
    found = knowing("db-sib-01", "db-fsn-01", "db-sib-03", optime=90)
    assert found.missing == 0 and "may have been confirmed by another standby" in found.doubt


def test_where_every_write_needed_the_standby_it_has_all() -> None:
    found = knowing("db-sib-01", "db-fsn-01", quorum=0, optime=90)
    assert found.missing == 0 and "every write needed db-fsn-01" in found.doubt


def test_without_a_word_of_dcs_nothing_is_claimed() -> None:
    assert FOUND.missing is None and "unknown" in FOUND.doubt


def test_it_is_refused_where_the_others_are_not_lost() -> None:
    refuse(FOUND)
    with pytest.raises(TercetError, match="found nodes that run: db-sib-03"):
        refuse(dataclasses.replace(FOUND, alive=("db-sib-03",)))
    with pytest.raises(TercetError, match=r"found that dcs works: a, b have a leader together\. Nothing was changed$"):
        refuse(dataclasses.replace(FOUND, members=("a", "b")))
    with pytest.raises(TercetError, match="Remove `lost_sites` from the inventory"):
        refuse(dataclasses.replace(FOUND, members=("a", "b"), begun=True))


def test_it_is_refused_where_there_is_nothing_to_go_on_with() -> None:
    with pytest.raises(TercetError, match="found: db-fsn-01: it holds no data"):
        refuse(SiteState("fsn-01", LOST, None, problem="db-fsn-01: it holds no data"))


def test_an_unknown_site_is_refused(opened: Session) -> None:
    with pytest.raises(TercetError, match="there is no site fsn-1: expected one of sib-01, sib-03, fsn-01"):
        alone(opened, "fsn-1")


def test_patroni_finds_no_word_of_standbys_where_there_are_none(opened: Session) -> None:
    left = alone(opened, "fsn-01")
    cluster = Patroni(left.context)
    keys = remembered(left.platform, cluster, Reach("db-fsn-01", "7", 3, 4242, ((2, 4000),)))
    assert "sync" not in keys and keys["status"] == {"optime": 4242}
    config = cluster.dynamic()
    assert (config["synchronous_mode"], config["synchronous_mode_strict"]) == (False, False)


def test_a_peer_whose_key_has_expired_is_out() -> None:
    listed = """{"Peer": {
        "1": {"HostName": "db-sib-01", "TailscaleIPs": ["100.64.0.6"]},
        "2": {"HostName": "db-sib-03", "TailscaleIPs": ["100.64.0.4"], "Expired": true},
        "3": {"HostName": "db-fsn-01", "TailscaleIPs": ["100.64.0.1"]}}}"""
    readings = Readings({"apps-fsn-01": {"tailscale": Answer(200, listed)}})
    assert peers(readings, ["apps-fsn-01"], ["db-sib-01", "db-sib-03"]) == {"db-sib-01": {"100.64.0.6"}}


def test_what_shuts_the_lost_sites_out_are_components_that_exist(platform: Platform) -> None:
    context = Context(platform, peek(Path("absent")), timing_of(platform.settings), (), "pgpool")
    assert set(shutout.COMPONENTS) <= {component.name for component in components(context)}
