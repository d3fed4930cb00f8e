"""All of `dcs` is lost: nobody is promoted by guess, and `tercet recover dcs` brings every acknowledged row back."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time

import pytest

from tercet.components.consul import tokens
from tercet.providers.lab.layout import LABS
from tests.lab.conftest import CURL, DCS, SHARED, Lab, secrets_of, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3700)]

CONTROLS = ("consul-nomad-sib-01", "consul-nomad-sib-03", "consul-nomad-fsn-01")
APPS = ("apps-sib-01", "apps-sib-03", "apps-fsn-01")
PRIMARY, LATE, CONFIRMS = "db-sib-01", "db-sib-03", "db-fsn-01"
DATABASES = (PRIMARY, LATE, CONFIRMS)


@pytest.fixture(scope="module")
def lab(harmed_lab: Lab) -> Lab:
    return harmed_lab


def kill(lab: Lab, *nodes: str) -> None:
    lab.with_faults(lambda faults: faults.kill(nodes, seconds=3600))


def start(lab: Lab, *nodes: str) -> None:
    lab.with_faults(lambda faults: faults.start(nodes))


def sql(lab: Lab, node: str, statement: str) -> str:
    """As superuser, straight at that node's PostgreSQL."""
    return lab.on(node, f'runuser -u postgres -- psql -XAtq proposalsapp -c "{statement}"').strip()


def empty_while_dark(*controls: str) -> None:
    for control in controls:
        shutil.rmtree(LABS / SHARED / control / "upper" / "var" / "lib" / "consul-dcs")


MEMBERS = ". /etc/profile.d/consul.sh; consul members -http-addr=https://127.0.0.1:9500"


def gossip(lab: Lab, node: str) -> int:
    """How many servers of `dcs` the node's agent sees alive."""
    # The token of the node itself is in the Raft.
    may = f"CONSUL_HTTP_TOKEN={tokens.of_agent(secrets_of(lab), node)}"
    said = lab.on(node, f"export {may}; {MEMBERS} 2>/dev/null | grep -c 'alive *server' || true")
    return int(said)


def in_recovery(lab: Lab, node: str) -> str:
    return lab.on(
        node, "runuser -u postgres -- psql -XAtqc 'SELECT pg_is_in_recovery()' 2>/dev/null || echo down"
    ).strip()


def patronis(lab: Lab) -> dict[str, str]:
    """What each database node's Patroni unit is doing."""
    return {node: lab.on(node, "systemctl is-active patroni || true").strip() for node in DATABASES}


def reasons(lab: Lab) -> str:
    """What `status` says of what does not hold."""
    status = lab.status()
    return " ".join(condition["detail"] for condition in status["conditions"] if not condition["passing"])


def nobody_leads(lab: Lab, *nodes: str, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for node in nodes:
            assert in_recovery(lab, node) != "f", f"{node} leads"
        time.sleep(1)


def test_where_dcs_works_there_is_nothing_to_recover(lab: Lab) -> None:
    assert "Nothing was changed" in lab.call("recover", "dcs", "--yes").stdout
    assert lab.json("recover", "dcs")["changed"] is False


def test_a_server_of_dcs_that_lost_its_data_joins_the_others(lab: Lab) -> None:
    lab.on(CONTROLS[0], "systemctl stop consul-dcs && rm -r /var/lib/consul-dcs && systemctl start consul-dcs")
    lab.wait_until_healthy(180)
    lab.call("consul", "recover", "sib-01", "--force")
    lab.wait_until_healthy(180)
    assert lab.plan()["empty"]


def test_a_control_node_that_was_restored_from_a_snapshot_is_said(lab: Lab) -> None:
    node = CONTROLS[2]
    upper = LABS / SHARED / node / "upper"
    copy = upper.with_name("copy")

    def count() -> int:
        return int(lab.on(node, "cat /var/lib/tercet/count 2>/dev/null || echo 0"))

    wait_until("it counts", lambda: count() > 0, timeout=60)
    kill(lab, node)
    subprocess.run(["cp", "-a", upper, copy], check=True, timeout=120)
    start(lab, node)
    before = count()
    wait_until("it counts on", lambda: count() > before, timeout=120)
    kill(lab, node)
    shutil.rmtree(upper)
    copy.rename(upper)
    start(lab, node)
    wait_until("status says it", lambda: f"{node} came back from a copy" in reasons(lab), timeout=120)
    lab.on(node, "rm /var/lib/tercet/restored")
    lab.wait_until_healthy(180)


def test_after_the_loss_of_dcs_nobody_leads_until_told_and_no_acknowledged_row_is_lost(lab: Lab) -> None:
    sql(lab, PRIMARY, "CREATE TABLE kept (id int)")
    kill(lab, LATE)
    # Acknowledged: the other standby has them.
    sql(lab, PRIMARY, "INSERT INTO kept SELECT generate_series(1, 200)")
    kill(lab, *CONTROLS, *APPS, PRIMARY, CONFIRMS)
    empty_while_dark(*CONTROLS)

    start(lab, *CONTROLS, LATE)
    wait_until("the servers of dcs see each other", lambda: gossip(lab, LATE) == 3, timeout=120)
    nobody_leads(lab, LATE, seconds=25)

    # It cannot know what the others have.
    refused = lab.call("recover", "dcs", "--yes", expect=1).stderr
    assert f"--confirm {LATE}" in refused and "1 of 3" in refused
    nobody_leads(lab, LATE, seconds=3)

    start(lab, *APPS, PRIMARY, CONFIRMS)
    wait_until("every Patroni waits", lambda: set(patronis(lab).values()) == {"activating"}, timeout=120)
    assert "tercet recover dcs" in reasons(lab)
    refused = lab.call("recover", "dcs", "--yes", "--leader", LATE, expect=1).stderr
    assert f"other nodes have WAL that {LATE} does not have" in refused

    # Killed after each of its steps, and run again.
    for step in ("the servers start without", "knows the cluster again", "must lead"):
        with lab.running("recover", "dcs", "--yes") as run:
            assert run.until(lambda event, step=step: step in event["text"]), run.end()  # type: ignore[misc]
    lab.call("recover", "dcs", "--yes")
    assert sql(lab, PRIMARY, "SELECT count(*) FROM kept") == "200"
    lab.wait_until_healthy(180)
    assert lab.plan()["empty"]


def test_a_running_primary_keeps_writing_while_dcs_is_lost_and_recovered(lab: Lab) -> None:
    lab.wait_until_healthy(180)
    # By now `dcs`'s leader may be handed over (tercet-placement), and `status` then says that there is none.
    primary = lab.primary()
    empty = "systemctl stop consul-dcs && rm -r /var/lib/consul-dcs"
    for control in CONTROLS:
        lab.on(control, empty)
    for control in CONTROLS:
        lab.on(control, "systemctl start consul-dcs")
    wait_until("the servers of dcs see each other", lambda: gossip(lab, primary) == 3, timeout=120)
    others = [node for node in DATABASES if node != primary]
    nobody_leads(lab, *others, seconds=30)  # longer than the leader key lives
    sql(lab, primary, "INSERT INTO kept VALUES (201)")

    before = lab.on(primary, "head -1 /var/lib/postgresql/17/tercet/postmaster.pid")
    done = lab.json("recover", "dcs", "--yes")
    assert done["leader"] == primary
    assert lab.on(primary, "head -1 /var/lib/postgresql/17/tercet/postmaster.pid") == before
    lab.wait_until_healthy(180)
    assert sql(lab, others[0], "SELECT count(*) FROM kept") == "201"


def test_an_emptied_first_primary_creates_no_second_cluster(lab: Lab) -> None:
    system = "SELECT system_identifier FROM pg_control_system()"
    known = sql(lab, CONFIRMS, system)
    kill(lab, *CONTROLS, LATE, CONFIRMS)
    empty_while_dark(*CONTROLS)
    lab.on(PRIMARY, "systemctl stop patroni; rm -r /var/lib/postgresql/17/tercet; systemctl start --no-block patroni")
    start(lab, *CONTROLS, LATE, CONFIRMS)
    wait_until("every Patroni waits", lambda: set(patronis(lab).values()) == {"activating"}, timeout=120)
    nobody_leads(lab, *DATABASES, seconds=10)

    # Two of three were read, so one of them has every acknowledged row.
    lab.call("recover", "dcs", "--yes")
    lab.wait_until_healthy(180)
    assert {sql(lab, node, system) for node in DATABASES} == {known}
    assert sql(lab, PRIMARY, "SELECT count(*) FROM kept") == "201"


# Kills Patroni while it creates the cluster: in initdb, then before it makes the roles, then when it has used up its
# permission.
BREAK_OFF = """
kill_patroni() { kill -KILL "$(systemctl show --property=MainPID --value patroni)" && echo "$1" >> /run/t-broken-off; }
until [ -s /var/lib/postgresql/17/tercet/PG_VERSION ]; do sleep 0.01; done; kill_patroni initdb
until grep -q ready /var/lib/postgresql/17/tercet/postmaster.pid; do sleep 0.01; done 2> /dev/null; kill_patroni roles
permission=/run/patroni/config/bootstrap.yml
until [ -s $permission ]; do sleep 0.01; done; while [ -s $permission ]; do sleep 0.01; done; kill_patroni permission
"""


def test_a_cluster_whose_creation_is_broken_off_is_created_in_the_end(lab: Lab) -> None:
    """Otherwise half a database would stay: without the roles, no standby can clone it."""
    for node in DATABASES:
        lab.on(node, "systemctl stop patroni; rm -r /var/lib/postgresql/17/tercet")
    lab.on(PRIMARY, f"{CURL} -sf -X DELETE '{DCS}/kv/service/proposalsapp/?recurse'")
    lab.on(PRIMARY, f"systemd-run -q --collect --unit=t-break-off sh -c {shlex.quote(BREAK_OFF)}")
    lab.call("up")
    assert lab.on(PRIMARY, "cat /run/t-broken-off") == "initdb\nroles\npermission\n"
    assert lab.on(PRIMARY, "ls /var/lib/postgresql/17 | grep creating || true") == ""
    aside = lab.call("aside", "list").stdout
    assert "creating the cluster was broken off" in aside, aside
