"""Two of three sites are lost for good: the last one goes on alone, the others stay out when they return, and come back
as standbys."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tercet.components.nomad.declaration import JOB_USER
from tercet.components.proxy.serving import PASSFILE
from tests.lab.conftest import CURL, DCS, NOMAD, NOMAD_CURL, NOMAD_TOKEN, Lab, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3700)]

SITES = ("sib-01", "sib-03", "fsn-01")
ROLES = ("consul-nomad", "apps", "db")
PRIMARY, LAST = "db-sib-01", "db-fsn-01"
MARK = "only-they-had"
# The standby hears no primary. To freeze it would not do: what is in the kernels' buffers then arrives in the end.
DEAF = """
nft -f - <<END
table inet deaf {
  chain in { type filter hook input priority 0; tcp sport 5432 drop; }
  chain out { type filter hook output priority 0; tcp dport 5432 reject with tcp reset; }
}
END
ss --kill --tcp --numeric dport = 5432 >/dev/null
"""
STEPS = (
    "says that sib-01, sib-03 are lost",
    "the servers start without",
    "Nomad continues with one server",
    "must lead",
)


@pytest.fixture(scope="module")
def lab(harmed_lab: Lab) -> Lab:
    return harmed_lab


def lost_in(lab: Lab) -> list[str]:
    """The inventory's lines with the key."""
    return re.findall(r"^lost_sites.*", lab.file.read_text(encoding="utf-8"), re.MULTILINE)


def nodes(*sites: str) -> list[str]:
    return [f"{role}-{site}" for site in sites for role in ROLES]


def fault(lab: Lab, kind: str, *names: str) -> None:
    limit = {"seconds": 3600} if kind in ("kill", "freeze") else {}
    lab.with_faults(lambda faults: getattr(faults, kind)(names, **limit))


def sql(lab: Lab, node: str, statement: str) -> str:
    """As superuser, straight at that node's PostgreSQL."""
    return lab.on(node, f'runuser -u postgres -- psql -XAtq proposalsapp -c "{statement}"').strip()


def through_proxy(lab: Lab, site: str, statement: str) -> str:
    """As the application at that site; "" where it is refused or waits for three seconds."""
    connection = (
        f"PGPASSFILE={PASSFILE} PGCONNECT_TIMEOUT=3 timeout 3 psql -XAtq -h localhost -U proposalsapp proposalsapp"
    )
    return lab.on(f"apps-{site}", f'{connection} -c "{statement}" 2>/dev/null || true').strip()


def recovery(lab: Lab, node: str) -> str:
    """ "f" where PostgreSQL runs as a primary, "t" as a standby, else "down"."""
    ask = "runuser -u postgres -- psql -XAtqc 'SELECT pg_is_in_recovery()' 2>/dev/null || echo down"
    return lab.on(node, ask).strip()


def answer(lab: Lab, site: str, url: str) -> Any:
    """What the API of a control node's Nomad or `dcs` agent answers."""
    curl = NOMAD_CURL if url.startswith(NOMAD) else CURL
    return json.loads(lab.on(f"consul-nomad-{site}", f'{NOMAD_TOKEN}; {curl} -sf -m 3 -H "$may" {url}'))


def run_job(lab: Lab) -> None:
    sleep = {"command": "/bin/sleep", "args": ["86400"]}
    task = {"Name": "sleep", "Driver": "raw_exec", "User": JOB_USER, "Config": sleep}
    job = {
        "ID": "kept",
        "Name": "kept",
        "Datacenters": ["dc1", "dc2", "dc3"],
        "TaskGroups": [{"Name": "g", "Tasks": [task]}],
    }
    put = f"{NOMAD_TOKEN}; {NOMAD_CURL} -sf -H \"$may\" -X PUT -d '{json.dumps({'Job': job})}' {NOMAD}/jobs"
    lab.on("consul-nomad-fsn-01", put)


def job_runs_at(lab: Lab) -> set[str]:
    found = answer(lab, "fsn-01", f"{NOMAD}/job/kept/allocations")
    return {each["NodeName"] for each in found if each["ClientStatus"] == "running" and each["DesiredStatus"] == "run"}


def voters(lab: Lab) -> list[str]:
    servers = answer(lab, "fsn-01", f"{DCS}/operator/raft/configuration")["Servers"]
    return [each["Node"] for each in servers if each["Voter"]]


def killed_after(lab: Lab, step: str, *words: str) -> None:
    with lab.running(*words) as run:
        assert run.until(lambda event: step in event["text"]), run.end()


def test_sites_that_run_are_not_lost(lab: Lab) -> None:
    refused = lab.call("recover", "site-alone", "fsn-01", "--confirm", "fsn-01", expect=1).stderr
    assert "dcs works" in refused
    assert not lost_in(lab)


def test_the_last_site_goes_on_alone(lab: Lab) -> None:
    run_job(lab)
    sql(lab, PRIMARY, "CREATE TABLE kept (id int, what text); ALTER TABLE kept OWNER TO proposalsapp")
    sql(lab, PRIMARY, "INSERT INTO kept SELECT n, 'all have it' FROM generate_series(1, 100) n")
    lab.on(LAST, DEAF)
    followers = "SELECT string_agg(application_name, ' ') FROM pg_stat_replication"
    wait_until("the primary has one standby", lambda: sql(lab, PRIMARY, followers) == "db-sib-03", timeout=60)
    # Acknowledged: the other standby has them.
    sql(lab, PRIMARY, f"INSERT INTO kept SELECT n, '{MARK}' || n FROM generate_series(101, 150) n")
    fault(lab, "kill", *nodes("sib-03"))
    fault(lab, "freeze", "consul-nomad-sib-01", "apps-sib-01")
    wait_until("dcs has no leader here", lambda: not answer(lab, "fsn-01", f"{DCS}/status/leader"), timeout=60)
    words = ("recover", "site-alone", "fsn-01", "--confirm", "fsn-01")
    assert "found nodes that run: db-sib-01. Nothing was changed" in lab.call(*words, expect=1).stderr
    fault(lab, "freeze", PRIMARY)
    lab.on(LAST, "nft delete table inet deaf")

    wait_until("its database answers", lambda: recovery(lab, LAST) == "t", timeout=60)
    assert not through_proxy(lab, "fsn-01", "INSERT INTO kept VALUES (1, 'no') RETURNING id")
    before = lab.file.read_bytes()
    refused = lab.call("recover", "site-alone", "fsn-01", expect=1).stderr
    assert "no terminal to ask on" in refused and "--confirm fsn-01" in refused
    assert "primary db-sib-01" in refused and "whether sib-01 and sib-03 went on without it" in refused
    assert "--confirm" in lab.call("recover", "site-alone", "fsn-01", "--confirm", "fsn", expect=1).stderr
    assert lab.file.read_bytes() == before

    for step in STEPS:
        killed_after(lab, step, *words)
    assert lab.json(*words)["lost"] == ["sib-01", "sib-03"]
    assert lab.file.read_bytes().startswith(before)
    assert lost_in(lab) == ["lost_sites: [sib-01, sib-03]"]

    wait_until(
        "a write is acknowledged",
        lambda: through_proxy(lab, "fsn-01", "INSERT INTO kept VALUES (201, 'alone') RETURNING id") == "201",
        timeout=60,
    )
    assert sql(lab, LAST, "SELECT count(*) FROM kept WHERE id <= 150") == "100"
    wait_until("the job runs here", lambda: job_runs_at(lab) == {"apps-fsn-01"}, timeout=120)
    assert voters(lab) == ["consul-nomad-fsn-01"]
    assert lab.plan()["empty"]
    lab.wait_until_healthy()
    assert lab.json(*words)["changed"] is False
    status = lab.call("status").stdout
    assert "lost: sib-01" in status and "it is on one disk only" in status


def test_another_operator_is_refused(lab: Lab, tmp_path: Path) -> None:
    other = Lab(tmp_path / "tercet.yml")
    for name in ("tercet.yml", "tercet.secrets.yml", "tercet.lock.json"):
        (tmp_path / name).write_bytes(lab.file.with_name(name).read_bytes())
        (tmp_path / name).chmod(0o600)
    text = other.file.read_text().replace("lost_sites: [sib-01, sib-03]", "")
    other.file.write_text(text)
    for command in ("plan", "apply"):
        assert "expected lost_sites: [sib-01, sib-03] in the inventory" in other.call(command, expect=1).stderr


def test_the_old_sites_stay_out_when_they_return(lab: Lab) -> None:
    """One comes back from a power cut; the other, the old primary's, was only silent and never started anew."""
    fault(lab, "start", *nodes("sib-03"))
    fault(lab, "thaw", *nodes("sib-01"))
    ends = time.monotonic() + 30  # longer than the leader key lives
    while time.monotonic() < ends:
        for site in ("sib-01", "sib-03"):
            assert recovery(lab, f"db-{site}") != "f" or not sql(
                lab, f"db-{site}", "SELECT 1 WHERE current_setting('default_transaction_read_only') = 'off'"
            ), f"db-{site} leads"
            assert not through_proxy(lab, site, "INSERT INTO kept VALUES (301, 'old') RETURNING id")
        assert voters(lab) == ["consul-nomad-fsn-01"]
        assert through_proxy(lab, "fsn-01", "INSERT INTO kept VALUES (202, 'alone') RETURNING id") == "202"
    for site in ("sib-01", "sib-03"):
        assert recovery(lab, f"db-{site}") != "f", f"db-{site} leads"
        state = lab.on(f"db-{site}", "tailscale status --json | jq -r .BackendState || true").strip()
        assert state == "NeedsLogin"
    assert lab.plan()["empty"]
    assert "`tercet recover rejoin sib-03`" in lab.call("status").stdout


def without_page_headers(segment: bytes) -> bytes:
    """A segment of WAL whose records are in one piece: each page of 8 KiB begins with a header of 24 bytes, the first
    one of 40 (PostgreSQL's xlog_internal.h), and a record goes on behind it."""
    pages = [segment[at : at + 8192] for at in range(0, len(segment), 8192)]
    return pages[0][40:] + b"".join(page[24:] for page in pages[1:])


def test_they_come_back_as_standbys(lab: Lab, tmp_path: Path) -> None:
    refused = lab.call("recover", "rejoin", "--yes", expect=1).stderr
    assert "transactions that the platform does not have" in refused and "--confirm sib-01,sib-03" in refused
    folder = tmp_path / "lost-writes"
    words = ("recover", "rejoin", "--confirm", "sib-01,sib-03", "--export", str(folder))
    for step in ("its database goes aside", "says that no site is lost", "changes"):
        killed_after(lab, step, *words)
        if step == "its database goes aside":
            assert "`tercet recover rejoin sib-01 sib-03` goes on" in lab.call("apply", expect=1).stderr
    lab.json(*words)
    lab.wait_until_healthy(180)
    assert lab.plan()["empty"]
    assert not lost_in(lab)
    members = lab.status()["postgres"]["members"]
    assert {each["node"]: each["state"] for each in members} == {
        "db-sib-01": "streaming",
        "db-sib-03": "streaming",
        LAST: "running",
    }
    assert len(voters(lab)) == 3
    assert sql(lab, PRIMARY, "SELECT count(*) FROM kept WHERE id BETWEEN 101 AND 150") == "0"
    assert sql(lab, PRIMARY, "SELECT count(*) > 0 FROM kept WHERE id > 200") == "t"

    # What only they had is in the export, and on their disks.
    for node in ("db-sib-01", "db-sib-03"):
        segments = sorted(path for path in (folder / node).iterdir() if len(path.name) == 24)
        wal = b"".join(without_page_headers(path.read_bytes()) for path in segments)
        missing = [n for n in range(101, 151) if f"{MARK}{n}".encode() not in wal]
        assert not missing, f"{node} without {missing} in {[path.name for path in segments]}"
        assert "COMMIT" in (folder / node / "commits.txt").read_text()
    aside = [each["node"] for each in lab.json("aside", "list") if "its site was lost" in each["reason"]]
    assert sorted(aside) == ["db-sib-01", "db-sib-03"]
