"""Issue by issue: what the platform promises, seen on the real thing. These tests leave it as they found it."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tercet.components.derived import derived
from tercet.components.proxy.component import TRANSACTIONS
from tercet.inventory.load import load
from tercet.inventory.secrets import load_or_create, peek
from tercet.session.session import open_session
from tests.lab.conftest import CURL, DCS, NOMAD, NOMAD_CURL, Lab, is_change, kill_group, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3700)]


def test_up_ends_with_an_empty_plan_and_every_promise_proven(platform_lab: Lab) -> None:
    assert platform_lab.plan()["empty"]
    verdicts = platform_lab.json("verify")["verdicts"]
    assert [v for v in verdicts if not v["holds"] and not v["declared"]] == []
    assert [v["title"] for v in verdicts if v["declared"]] == (
        [TRANSACTIONS] if platform_lab.status()["routes"][0]["proxy"] == "pgpool" else []
    )
    titles = " ".join(v["title"] for v in verdicts)
    for promise in (
        "direct",
        "dc1",
        "dc2",
        "dc3",
        "3 voters",
        "3 servers",
        "3 clients",
        "quorum",
        "strict",
        "runs in every",
        "read back",
    ):
        assert promise in titles, promise


def test_status_follows_the_published_schema(platform_lab: Lab) -> None:
    platform_lab.wait_until_healthy()
    status = platform_lab.status()
    assert status["platform"] == "t-shared"
    assert [site["datacenter"] for site in status["sites"]] == ["dc1", "dc2", "dc3"]
    assert sum(len(site["nodes"]) for site in status["sites"]) == 9
    assert status["postgres"]["writable"] is True
    assert sorted(member["role"] for member in status["postgres"]["members"]) == ["primary", "standby", "standby"]
    assert status["consul"]["dcs"]["voters"] == 3
    assert set(status["consul"]) == {"dc1", "dc2", "dc3", "dcs"}
    for route in status["routes"]:
        assert route["read"] == f"db-{route['site']}"
        assert route["write"] == status["postgres"]["primary"]


def test_psql_and_exec_reach_the_platform(platform_lab: Lab) -> None:
    answer = platform_lab.call("psql", "fsn-01", "--", "-XAtc", "SELECT current_user, current_database()").stdout
    assert answer.strip() == "proposalsapp|proposalsapp"
    assert platform_lab.call("exec", "db-sib-03", "--", "hostname").stdout.strip() == "db-sib-03"
    assert platform_lab.call("exec", "db-sib-03", "--", "sh", "-c", "exit 7", expect=7).returncode == 7
    wrong = platform_lab.call("exec", "db-sib-02", "--", "true", expect=1)
    assert "db-sib-02" in wrong.stderr and "db-sib-01" in wrong.stderr


# Holds all sessions that the proxy gives while it asks for more, and prints what became of those.
MANY_CLIENTS = """
import json, psycopg, sys, threading
from concurrent.futures import ThreadPoolExecutor
from collections import Counter
at_once, in_a_row = map(int, sys.argv[1:])
held, began = [], threading.Barrier(at_once)
def ask(first):
    if first:
        began.wait(30)
    try:
        held.append(psycopg.connect("host=localhost user=proposalsapp dbname=proposalsapp sslmode=disable "
                                    "passfile=/etc/tercet/application.pgpass connect_timeout=20"))
        held[-1].execute("SELECT 1")
        return "session"
    except psycopg.OperationalError as error:
        return "refused" if "Connection refused" in str(error) else str(error)
with ThreadPoolExecutor(at_once) as pool:
    print(json.dumps(Counter(pool.map(ask, [True] * at_once))))
print(json.dumps(Counter(ask(False) for _ in range(in_a_row))))
while held:
    held.pop().close()
print(ask(False))
"""


def test_a_client_too_many_is_refused_and_not_left_waiting(platform_lab: Lab) -> None:
    """More often than pgpool's own refusals would leave it descriptors for."""
    if platform_lab.status()["routes"][0]["proxy"] != "pgpool":
        pytest.skip("PgCat serves as many clients as come")
    words = ("exec", "apps-fsn-01", "--", "python3", "-c", MANY_CLIENTS, "40", "1200")
    at_once, in_a_row, after = platform_lab.call(*words, timeout=240).stdout.splitlines()
    # tercet-proxywatch is a client, too: it may hold one of the 32 for a moment.
    assert json.loads(at_once) in ({"refused": 8, "session": 32}, {"refused": 9, "session": 31})
    assert json.loads(in_a_row) in ({"refused": 1200}, {"refused": 1199, "session": 1})
    assert after == "session"


def test_the_application_is_no_superuser(platform_lab: Lab) -> None:
    rights = platform_lab.call(
        "psql",
        "sib-01",
        "--",
        "-XAtc",
        "SELECT rolsuper, rolcreaterole, rolreplication FROM pg_roles WHERE rolname = current_user",
    )
    assert rights.stdout.strip() == "f|f|f"
    refused = platform_lab.on(
        "apps-sib-01",
        "PGPASSWORD=wrong psql -h localhost -U proposalsapp proposalsapp -c 'SELECT 1' 2>&1 || echo refused",
    )
    assert "refused" in refused


async def derived_of(lab: Lab) -> list[str]:
    async with open_session(lab.file) as session:
        return list(derived(session.context).values())


def test_no_secret_is_in_any_process_list_or_log(platform_lab: Lab) -> None:
    secrets = peek(platform_lab.file.with_name("tercet.secrets.yml")).texts
    values = [v for k, v in secrets.items() if "cert" not in k and "ca" not in k.split("_")]
    assert len(values) >= 5
    values += asyncio.run(derived_of(platform_lab))
    for node in ("db-sib-01", "apps-sib-01"):
        seen = platform_lab.on(node, "ps -eo args; journalctl --no-pager -o cat")
        leaked = [
            value
            for value in values
            if value.strip() and value.strip().splitlines()[0] in seen and "BEGIN" not in value
        ]
        assert not leaked, f"on {node}"


def test_a_second_operator_brings_no_other_secrets(platform_lab: Lab, tmp_path: Path) -> None:
    """On another machine, with the same inventory: first without secrets, then with secrets of their own."""
    other = Lab(tmp_path / "tercet.yml")
    for name in ("tercet.yml", "tercet.lock.json"):
        shutil.copy(platform_lab.file.with_name(name), tmp_path)
    record = platform_lab.on("db-sib-01", "cat /var/lib/tercet/secrets.json")
    for command in ("plan", "apply", "up"):
        refused = other.call(command, expect=1)
        assert "found none although it exists" in refused.stderr
    assert not list(tmp_path.glob("*.secrets.yml"))

    load_or_create(tmp_path / "tercet.secrets.yml")
    for command in ("plan", "apply", "up"):
        refused = other.call(command, expect=1)
        assert f"found others in root@{socket.gethostname()}:{tmp_path}/tercet.secrets.yml: consul_gossip, " in (
            refused.stderr
        )
        assert f"{platform_lab.file.parent}/tercet.secrets.yml" in refused.stderr, "what to copy from where"
    assert platform_lab.on("db-sib-01", "cat /var/lib/tercet/secrets.json") == record

    shutil.copy(platform_lab.file.with_name("tercet.secrets.yml"), tmp_path)
    assert other.plan()["empty"]
    assert platform_lab.plan()["empty"]


# One line a kind of resource: (node, what a person did to it, what the plan must say of it).
DRIFT = (
    ("apps-sib-01", "echo '{}' > /etc/nomad.d/nomad.json", r"update file /etc/nomad\.d/nomad\.json: content differs"),
    ("apps-sib-03", "rm /usr/lib/tercet/guard.py", r"create file /usr/lib/tercet/guard\.py"),
    ("apps-fsn-01", "chmod 666 /etc/consul.d/agent.json", r"update file /etc/consul\.d/agent\.json.*mode"),
    ("consul-nomad-fsn-01", "echo '{}' > /etc/consul.d/stray.json", r"remove file /etc/consul\.d/stray\.json"),
    ("apps-sib-03", "systemctl stop tercet-guard", r"(re)?start unit tercet-guard\.service"),
    ("apps-sib-01", "systemctl disable -q consul", r"enable unit consul\.service"),
    ("apps-fsn-01", "kill -9 $(systemctl show -P MainPID nomad); systemctl stop nomad", r"start unit nomad\.service"),
    ("consul-nomad-sib-03", "ln -sfn /bin/true /usr/local/bin/nomad", r"program nomad"),
    ("apps-sib-03", "echo '# mine' >> /etc/pgpool2/pgpool.conf", r"update file /etc/pgpool2/pgpool\.conf"),
    ("apps-fsn-01", "nft delete table ip tercet_routes", r"change routes of apps-fsn-01"),
    ("db-fsn-01", "echo >> /etc/hosts", r"update file /etc/hosts"),
    ("db-sib-03", "rm -r /etc/tercet/ca", r"create directory /etc/tercet/ca"),
    ("db-sib-03", "rm /var/lib/tercet/secrets.json", r"change fingerprint of the secrets on db-sib-03"),
    ("apps-sib-03", "nft delete table inet tercet_pgpool", r"change limit of clients of apps-sib-03"),
    # The other proxy must not be there, and must not run.
    (
        "apps-sib-01",
        "echo stray > /var/lib/consul-template/pgcat.toml",
        r"remove file /var/lib/consul-template/pgcat\.toml: must not be there",
    ),
    (
        "apps-fsn-01",
        "systemd-run --quiet --unit=pgcat sleep infinity",
        r"stop unit pgcat\.service: must not run \(active\)",
    ),
    # Consul Template mends this itself when anything changes in Consul, so it stands still until the plan is made.
    (
        "apps-sib-01",
        "systemctl kill --signal=STOP consul-template; sed -i '/^read/d' /var/lib/consul-template/routes",
        r"change /var/lib/consul-template/routes",
    ),
)


def test_what_a_person_changed_is_planned_with_its_reason_and_repaired(platform_lab: Lab) -> None:
    # The damage to db-sib-03 restarts its tunnel. Were it the primary, that might be a failover in the midst of it all.
    primary = platform_lab.primary()
    if primary != "db-sib-01":
        platform_lab.call("switchover", "--to", "sib-01")
        primary = "db-sib-01"
    for node, damage, _ in DRIFT:
        platform_lab.on(node, damage)
    platform_lab.on(primary, "runuser -u postgres -- psql -c \"ALTER ROLE proposalsapp PASSWORD 'other'\"")
    patch = json.dumps({"loop_wait": 3})
    platform_lab.on(
        primary, f"echo '{patch}' | patronictl -c /etc/patroni/patroni.yml edit-config --force --apply - >/dev/null"
    )
    try:
        lines = platform_lab.lines()
    finally:
        platform_lab.on("apps-sib-01", "systemctl kill --signal=CONT consul-template")
    for node, _, expected in DRIFT:
        assert any(re.search(f"^{node}: .*{expected}", line) for line in lines), f"{node}: {expected}\n" + "\n".join(
            lines
        )
    assert any("loop_wait is 3, wanted 1" in line for line in lines)
    assert any("proposalsapp" in line and "cannot log in" in line for line in lines)
    inside = platform_lab.call("plan", "--diff", expect=2).stdout
    assert re.search(r"update   file /etc/nomad\.d/nomad\.json .*\n +@@.*\n +- \{\}\n", inside), inside
    touched = {line.split(":")[0] for line in lines}
    assert "consul-nomad-sib-01" not in touched, "a node that nobody touched has changes"
    platform_lab.call("apply")
    assert platform_lab.lines() == []
    platform_lab.call("verify")


def test_a_stopped_or_destroyed_container_is_raised_again(platform_lab: Lab) -> None:
    platform_lab.on("apps-sib-03", "systemctl poweroff --force --force || true")
    wait_until("the plan says so", lambda: any("container apps-sib-03" in line for line in platform_lab.lines()), 120)
    platform_lab.call("apply")
    assert platform_lab.plan()["empty"]
    platform_lab.call("verify")


def test_a_site_that_joins_the_tailnet_as_new_works_and_its_old_entries_are_removed(platform_lab: Lab) -> None:
    """Its nodes have lost what they knew of the tailnet, while their programs run all the time."""
    if platform_lab.primary() == "db-fsn-01":
        platform_lab.call("switchover", "--to", "sib-01")
    names = [f"{role}-fsn-01" for role in ("consul-nomad", "apps", "db")]
    before = entries(platform_lab)
    for name in names:
        forget = "systemctl stop tailscaled; rm /var/lib/tailscale/tailscaled.state; systemctl start tailscaled"
        platform_lab.on(name, forget)
    platform_lab.call("apply")
    # Nomad's servers accept another address of a failed member only after a minute or two.
    platform_lab.wait_until_proven(240)
    # Consul Template may still render where the site's services moved to.
    wait_until("nothing is left to do", lambda: platform_lab.lines() == [], 60)
    after = entries(platform_lab)
    assert sorted(name for name, _ in after) == sorted(name for name, _ in before), "one entry for each node"
    assert {name for name, _ in set(before) - set(after)} == set(names), "these nodes have other addresses"
    for name in names:
        own = platform_lab.on(name, "tailscale ip -4").strip()
        assert (name, own) in after
        listening = platform_lab.on(name, "ss -4Hltn src 100.64.0.0/10").splitlines()
        assert listening and {line.split()[3].rsplit(":", 1)[0] for line in listening} == {own}


def entries(lab: Lab) -> list[tuple[str, str]]:
    """The names and addresses of the devices that the tailnet has."""
    listed = json.loads(lab.on("world", "headscale nodes list -o json"))
    return sorted((each["name"], each["ip_addresses"][0]) for each in listed)


def test_of_two_operators_one_is_told_who_the_other_is(platform_lab: Lab) -> None:
    """Both at once: whoever comes second, by however little, is refused and changes nothing."""
    platform_lab.on("apps-sib-01", "systemctl stop nomad")
    operators = [platform_lab.start("apply") for _ in range(2)]
    try:
        said = [process.communicate(timeout=900)[1] for process in operators]
    finally:
        for process in operators:
            if process.poll() is None:
                kill_group(process)
    assert sorted(process.returncode for process in operators) == [0, 1], said
    holder, refused = sorted(range(2), key=lambda i: operators[i].returncode)
    assert str(operators[holder].pid) in said[refused] and "apply" in said[refused]
    assert platform_lab.plan()["empty"]


def test_a_silent_node_does_not_hang_the_tool(platform_lab: Lab) -> None:
    """Every process of the node stands still: nothing answers, nothing is refused."""
    name = "apps-fsn-01"
    frozen = platform_lab.on(name, "cat /proc/sys/kernel/hostname").strip()
    assert frozen == name
    stop = (
        "for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p != 1 ] && [ $p != $$ ] && kill -STOP $p 2>/dev/null; done; true"
    )
    platform_lab.on(name, stop)
    try:
        started = time.monotonic()
        status = platform_lab.call("--json", "status", expect=1, timeout=180)
        assert time.monotonic() - started < 90, "it waits for what will never answer"
        assert json.loads(status.stdout)["healthy"] is False
        assert name in platform_lab.call("plan", expect=None, timeout=180).stdout
    finally:
        platform_lab.on(name, "for p in /proc/[0-9]*; do kill -CONT ${p#/proc/} 2>/dev/null; done; true")
    platform_lab.wait_until_healthy(300)


@contextmanager
def dead_server(lab: Lab, site: str) -> Iterator[None]:
    """The site loses power for as long as the block lasts, and the platform is well again after it."""
    nodes = [node.name for node in load(lab.file).nodes if node.site == site]
    lab.with_faults(lambda faults: faults.kill(nodes, seconds=900))
    try:
        yield
    finally:
        lab.with_faults(lambda faults: faults.heal_all())
        lab.wait_until_proven(300)


def test_a_dead_server_keeps_nobody_from_working_on_the_others(platform_lab: Lab) -> None:
    status = platform_lab.status()
    primary = status["postgres"]["primary"]
    sites = [site["name"] for site in status["sites"]]
    site = next(name for name in reversed(sites) if f"db-{name}" != primary)
    living = [name for name in sites if name != site]
    watch = f"apps-{living[0]}"
    before = platform_lab.file.read_text(encoding="utf-8")
    changed = before.replace("    max_connections: 200\n", "    max_connections: 220\n    work_mem: 5MB\n")
    assert changed != before
    hosts = platform_lab.on(watch, "cat /etc/hosts")
    started = [postmaster(platform_lab, name) for name in living]

    def show(name: str) -> str:
        return platform_lab.call("psql", living[0], "--", "-XAtc", f"SHOW {name}").stdout.strip()

    try:
        with dead_server(platform_lab, site):
            platform_lab.on(watch, "echo '{}' > /etc/nomad.d/nomad.json; sed -i '/ db-/d' /etc/hosts")
            platform_lab.file.write_text(changed, encoding="utf-8")
            plan = platform_lab.plan()
            assert sorted(each["node"] for each in plan["unreachable"]) == sorted(
                f"{role}-{site}" for role in ("consul-nomad", "apps", "db")
            )
            assert plan["infrastructure"] == plan["restarts"] == []
            assert {step["component"] for step in plan["steps"]} == {
                "tailscale",
                "firewall",
                "nomad",
                "patroni-settings",
            }
            assert {(held["component"], held["node"]) for held in plan["waiting"]} == {
                ("patroni-restarts", f"db-{name}") for name in living
            }
            applied = platform_lab.json("apply")
            assert {held["node"] for held in applied["waiting"]} == {f"db-{name}" for name in living}
            for held in applied["waiting"]:
                assert held["for"] == [site] and f"db-{site}" in held["reason"]
                assert "max_connections" in held["changes"][0]["reason"]
            assert (show("work_mem"), show("max_connections")) == ("5MB", "200")
            assert platform_lab.on(watch, "cat /etc/hosts") == hosts
            assert [postmaster(platform_lab, name) for name in living] == started
            assert platform_lab.lines() == [], "all that can be done is done"
            assert platform_lab.json("status", expect=1)["postgres"]["writable"] is True
        assert platform_lab.plan()["unreachable"] == []
        platform_lab.call("apply")
        assert show("max_connections") == "220"
    finally:
        platform_lab.file.write_text(before, encoding="utf-8")
        platform_lab.call("apply")
    plan = platform_lab.plan()
    assert plan["empty"] and plan["waiting"] == []


def postmaster(lab: Lab, site: str) -> str:
    """The process id and start of a site's PostgreSQL."""
    return lab.on(f"db-{site}", "sed -n '1p;3p' /var/lib/postgresql/17/tercet/postmaster.pid")


def test_a_hung_node_keeps_nobody_from_working_on_the_others(platform_lab: Lab) -> None:
    """Programs that the tool starts there never end, as where a disk hangs."""
    hung, other = "apps-fsn-01", "apps-sib-01"
    platform_lab.on(
        hung, "printf '#!/bin/sh\\nexec sleep 900\\n' > /usr/local/bin/python3; chmod +x /usr/local/bin/python3"
    )
    try:
        platform_lab.on(other, "rm /usr/lib/tercet/guard.py; systemctl stop nomad")
        plan = platform_lab.plan()
        assert [each["node"] for each in plan["unreachable"]] == [hung]
        assert {(step["component"], step["node"]) for step in plan["steps"]} == {("guard", other), ("nomad", other)}
        platform_lab.call("apply")
        plan = platform_lab.plan()
        assert plan["empty"] and plan["waiting"] == []
        assert platform_lab.on(other, "systemctl is-active nomad tercet-guard").split() == ["active", "active"]
    finally:
        platform_lab.on(hung, "rm /usr/local/bin/python3")
    plan = platform_lab.plan()
    assert plan["empty"] and plan["unreachable"] == []


CONTROLS = ("consul-nomad-sib-01", "consul-nomad-sib-03", "consul-nomad-fsn-01")
# Prints the names of those that have a leader.
LEADERS = f"""
{CURL} -sf -m 1 {DCS}/status/leader | grep -q :9300 && echo dcs
{NOMAD_CURL} -sf -m 1 {NOMAD}/status/leader | grep -q :4647 && echo nomad
true
"""
# As an application does, at the port that its proxy has now: the inventory's is another while it is rolled out.
WRITE = """
export PGPASSFILE=/etc/tercet/application.pgpass PGCONNECT_TIMEOUT=3
IFS=: read -r _ port _ < $PGPASSFILE
exec timeout 10 psql -XAtq -h localhost -p "$port" -U proposalsapp -d proposalsapp -c "$1"
"""


class Watch:
    """Looks for `dcs`'s leader, Nomad's leader and a write's success while something else goes on.

    `longest` is for each of them how many seconds lay between two looks that found it, `slowest` how many seconds a
    look took at most: the measure of how busy the machine is.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._stop = False
        self.longest = dict.fromkeys(("dcs", "nomad", "write"), 0.0)
        self.found = dict.fromkeys(self.longest, 0)
        self.slowest = 0.0

    def run(self) -> None:
        last = dict.fromkeys(self.longest, time.monotonic())
        while not self._stop:
            began = time.monotonic()
            seen = self._leaders()
            if self.write("INSERT INTO watch VALUES (1)"):
                seen.add("write")
            now = time.monotonic()
            self.slowest = max(self.slowest, now - began)
            for what in self.longest:
                self.longest[what] = max(self.longest[what], now - last[what])
                if what in seen:
                    last[what] = now
                    self.found[what] += 1

    def stop(self) -> None:
        self._stop = True

    def write(self, sql: str) -> bool:
        return self._ask("apps-sib-03", WRITE, sql) is not None

    def _leaders(self) -> set[str]:
        seen = set[str]()
        for node in CONTROLS:
            seen |= set((self._ask(node, LEADERS) or "").split())
            if len(seen) == 2:
                break
        return seen

    def _ask(self, node: str, *script: str) -> str | None:
        """What a script prints there; None if it fails or takes longer than 30 s."""
        words = ("exec", node, "--", "sh", "-c", script[0], "sh", *script[1:])
        try:
            done = self._lab.call(*words, expect=None, timeout=30)
        except subprocess.TimeoutExpired:
            return None
        return done.stdout if done.returncode == 0 else None


def test_changed_settings_roll_out_without_losing_quorum(platform_lab: Lab) -> None:
    """A Consul, a PostgreSQL (with restart) and a proxy setting at once."""
    before = platform_lab.file.read_text(encoding="utf-8")
    changed = before.replace("    max_connections: 200\n", "    max_connections: 220\n    work_mem: 5MB\n")
    assert changed != before and not re.search(r"^ports:", before, re.M)
    changed += "\nports:\n  dcs_dns: 9700\n  proxy: 5433\n"
    watch = Watch(platform_lab)
    assert watch.write("CREATE TABLE IF NOT EXISTS watch (n int)")
    platform_lab.file.write_text(changed, encoding="utf-8")
    try:
        lines = platform_lab.lines()
        assert all("consul.service" not in line for line in lines), "only what needs it restarts"
        assert any("consul-dcs.service" in line for line in lines)
        assert any("max_connections" in line for line in lines)
        with ThreadPoolExecutor() as pool:
            watching = pool.submit(watch.run)
            try:
                platform_lab.call("apply")
            finally:
                watch.stop()
                watching.result(timeout=240)
        assert platform_lab.lines() == []
        assert platform_lab.call("psql", "sib-01", "--", "-XAtc", "SHOW max_connections").stdout.strip() == "220"
        print(f"longest without: {watch.longest}, found: {watch.found}, slowest look: {watch.slowest}")
        assert min(watch.found.values()) >= 3, "the watch saw next to nothing"
        # Between two looks that find something lie up to two that were late themselves.
        busy = 2 * watch.slowest
        assert watch.longest["dcs"] < 15 + busy, "one election, after the leader's own restart"
        assert watch.longest["nomad"] < 15 + busy, "nothing of Nomad was changed"
        # The primary restarts for max_connections and its clients connect anew; then this site's proxy restarts.
        assert watch.longest["write"] < 25 + busy
    finally:
        platform_lab.file.write_text(before, encoding="utf-8")
        platform_lab.call("apply")
    assert watch.write("DROP TABLE watch")
    assert platform_lab.plan()["empty"]
    platform_lab.call("verify")


def test_ctrl_c_is_clean_and_the_next_run_finishes(platform_lab: Lab) -> None:
    platform_lab.on("apps-sib-01", "systemctl stop consul consul-dcs nomad; rm /etc/nomad.d/nomad.json")
    with platform_lab.running("up") as run:
        assert run.until(is_change), run.end()
        kill_group(run.process, signal.SIGINT)
        status, said = run.end()
    assert status == 130, f"it left with {status}:\n{said[-6000:]}"
    assert "interrupted" in said and "Traceback" not in said
    platform_lab.call("up")
    assert platform_lab.plan()["empty"]


def test_a_consul_server_that_lost_its_data_is_brought_back(platform_lab: Lab) -> None:
    """The one of a standby's site: PostgreSQL must not notice."""
    status = platform_lab.status()
    primary = status["postgres"]["primary"]
    site = next(s["name"] for s in status["sites"] if f"db-{s['name']}" != primary)
    platform_lab.on(f"consul-nomad-{site}", "systemctl stop consul && rm -r /var/lib/consul")
    wait_until("the status says so", lambda: not platform_lab.status()["healthy"], 60)
    platform_lab.call("consul", "recover", site)
    platform_lab.wait_until_proven(300)
    assert platform_lab.lines() == []
    assert platform_lab.primary() == primary
    refused = platform_lab.call("consul", "recover", site, expect=1)
    assert "nothing to recover" in refused.stderr
