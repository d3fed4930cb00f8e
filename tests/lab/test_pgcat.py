"""The platform with a real PgCat, which no package registry has: it must work as soon as somebody has a binary.

Say where it is: `TERCET_TEST_PGCAT=/path/to/pgcat make test`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import FIRST_UP_S, Lab, make_lab

PGCAT = os.environ.get("TERCET_TEST_PGCAT", "")
SITES = {"sib-01", "sib-03", "fsn-01"}

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(FIRST_UP_S + 300),
    pytest.mark.skipif(not PGCAT, reason="PgCat is in no package registry: name a binary in TERCET_TEST_PGCAT"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = make_lab(tmp_path_factory.mktemp("pgcat"), "t-pgcat")
    lab.edit(lambda text: f"{text}\nproxy: pgcat\nsources:\n  pgcat: path:{Path(PGCAT).resolve()}\n")
    lab.call("down", "--yes")
    try:
        lab.call("up", timeout=FIRST_UP_S)
        yield lab
    finally:
        lab.call("down", "--yes", expect=None)


def proven(lab: Lab, primary: str) -> None:
    """Every promise holds through PgCat, with this primary, and there is nothing left to do."""
    lab.call("verify")
    lab.wait_until_healthy()
    status = lab.status()
    assert status["postgres"]["primary"] == primary
    assert {route["site"]: route["proxy"] for route in status["routes"]} == dict.fromkeys(SITES, "pgcat")
    for route in status["routes"]:
        to = (route["read"], route["write"], route["transaction"])
        assert to == (f"db-{route['site']}", primary, primary), "a transaction is wholly the primary's"
    assert lab.lines() == []


def test_every_site_is_served_and_writes_follow_the_primary(lab: Lab) -> None:
    invocations = {}
    for site in sorted(SITES):
        node = f"apps-{site}"
        assert lab.on(node, "systemctl is-active pgcat").strip() == "active"
        assert lab.on(node, "systemctl is-active pgpool2 || true").strip() == "inactive"
        assert lab.call("psql", site, "--", "-XAtc", "SELECT current_user").stdout.strip() == "proposalsapp"
        invocations[node] = lab.on(node, "systemctl show -P InvocationID pgcat")
    proven(lab, "db-sib-01")
    lab.call("switchover", "--to", "sib-03")
    proven(lab, "db-sib-03")
    for node, before in invocations.items():
        assert lab.on(node, "systemctl show -P InvocationID pgcat") == before, "a reload is enough, it was restarted"


def test_pgpool_takes_its_place_when_the_inventory_says_so(lab: Lab) -> None:
    lab.edit(lambda text: text.replace("\nproxy: pgcat\n", "\nproxy: pgpool\n"))
    lines = lab.lines()
    for site in sorted(SITES):
        assert f"apps-{site}: stop unit pgcat.service: must not run (active)" in lines
        assert f"apps-{site}: remove file /var/lib/consul-template/pgcat.toml: must not be there" in lines
    lab.call("apply", timeout=FIRST_UP_S)
    assert lab.lines() == []
    lab.call("verify")
    assert {route["proxy"] for route in lab.status()["routes"]} == {"pgpool"}
