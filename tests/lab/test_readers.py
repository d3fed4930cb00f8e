"""Applications that read at a standby hold up neither its WAL nor a failover, which waits for the WAL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.lab.conftest import Lab, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3700)]

SQL = "runuser -u postgres -- psql -XAtq proposalsapp"
READ_S = 20  # far longer than a standby may wait for a reader
LATE_S = 5.0


def test_a_standby_waits_a_second_for_a_reader(platform_lab: Lab) -> None:
    postgres = platform_lab.status()["postgres"]
    primary = postgres["primary"]
    standbys = [each["node"] for each in postgres["members"] if each["role"] == "standby"]

    def has(node: str, table: str) -> bool:
        return platform_lab.on(node, f"""{SQL} -c "SELECT to_regclass('{table}') IS NOT NULL" """).strip() == "t"

    def read(node: str) -> str:
        return platform_lab.on(node, f"{SQL} -c 'BEGIN; TABLE held; SELECT pg_sleep({READ_S})' 2>&1 || true")

    def holds(node: str) -> bool:
        waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND wait_event = 'PgSleep'"
        return platform_lab.on(node, f'{SQL} -c "{waits}"').strip() == "1"

    platform_lab.on(primary, f"{SQL} -c 'CREATE TABLE held ()'")
    with ThreadPoolExecutor(len(standbys)) as pool:
        for node in standbys:
            wait_until(f"{node} has the table", partial(has, node, "held"), 30)
        readers = {node: pool.submit(read, node) for node in standbys}
        for node in standbys:
            wait_until(f"{node} reads", partial(holds, node), 10)
        platform_lab.on(primary, f"{SQL} -c 'DROP TABLE held' -c 'CREATE TABLE after ()'")
        try:
            for node in standbys:
                wait_until(f"{node} has all of the WAL", partial(has, node, "after"), LATE_S)
        finally:
            platform_lab.on(primary, f"{SQL} -c 'DROP TABLE after'")
            said = {node: reader.result() for node, reader in readers.items()}
    for node in standbys:
        assert "conflict with recovery" in said[node], said[node]
