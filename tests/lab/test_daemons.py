"""The platform's own daemons do no harm when they are in trouble. These tests leave the platform as they found it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tercet.components.consul import tokens
from tercet.components.proxy.routes import FILE as ROUTES
from tests.lab.conftest import CURL, DCS, Lab, secrets_of, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3700)]

# Writes through the proxy for 26 s, each in a session of its own; prints the errors.
WRITES = r"""
export PGPASSFILE=/etc/tercet/application.pgpass PGCONNECT_TIMEOUT=5
ends=$(($(date +%s) + 26))
while [ $(date +%s) -lt $ends ]; do
  psql -XAtq -h localhost -U proposalsapp -d proposalsapp -v ON_ERROR_STOP=1 -o /dev/null \
    -c '/*NO LOAD BALANCE*/ BEGIN; SELECT txid_current(); COMMIT' 2>&1
  sleep 0.1
done
"""
SUSPENDED = """
systemctl kill --signal=STOP {units}; sleep 10; systemctl kill --signal=CONT {units}; sleep 2
systemctl freeze {units}; sleep 10; systemctl thaw {units}
"""


def test_suspended_daemons_break_nothing(platform_lab: Lab) -> None:
    """All of the primary's site and the routes of all sites, first by signals, then by the cgroups' freezer."""
    before = platform_lab.status()
    primary = before["postgres"]["primary"]
    site = primary.removeprefix("db-")
    units = {f"apps-{each['name']}": "tercet-routes" for each in before["sites"]}
    units[f"apps-{site}"] += " tercet-guard"
    units[primary] = "tercet-strict tercet-wake tercet-guard"
    units[f"consul-nomad-{site}"] = "tercet-placement tercet-guard"
    apps = [node for node in units if node.startswith("apps-")]
    with ThreadPoolExecutor(len(units) + len(apps)) as pool:
        writes = {node: pool.submit(platform_lab.on, node, WRITES) for node in apps}
        for node, names in units.items():
            pool.submit(platform_lab.on, node, SUSPENDED.format(units=names))
        errors = {node: done.result() for node, done in writes.items()}
    assert errors == dict.fromkeys(apps, "")
    assert platform_lab.primary() == primary
    platform_lab.wait_until_healthy()


def test_a_guard_without_its_filter_is_not_healthy_and_says_why(platform_lab: Lab) -> None:
    node = "consul-nomad-fsn-01"

    def reason() -> str:
        conditions = platform_lab.status()["conditions"]
        return "".join(each["detail"] for each in conditions if each["title"] == "guard: runs on every node")

    platform_lab.on(node, "mount --bind /bin/false /usr/sbin/nft && systemctl --no-block restart tercet-guard")
    try:
        expected = f"{node}: activating (cannot install the rule: nft: status 1)"
        wait_until("status says why", lambda: reason() == expected, 60)
        assert platform_lab.json("status", expect=1)["healthy"] is False
    finally:
        platform_lab.on(node, "umount --lazy /usr/sbin/nft")
    wait_until("the guard is there again by itself", lambda: reason() == "9 nodes", 60)
    platform_lab.on(node, "nft flush ruleset")
    check = "nft list chain inet tercet_guard refuse && systemctl is-active -q tercet-guard && echo there; true"
    wait_until("the guard has put its rule back", lambda: "there" in platform_lab.on(node, check), 60)
    closed = "nft list chain inet tercet_firewall input && echo there; true"
    wait_until("the firewall is back, too", lambda: "there" in platform_lab.on(node, closed), 60)


def test_a_node_whose_firewall_cannot_be_installed_boots_without_the_tailnet(platform_lab: Lab) -> None:
    """It is closed, and can be repaired from its host."""
    node = "apps-fsn-01"

    def active(*units: str) -> list[str]:
        """Their states; an empty list while the node does not run."""
        command = ("exec", node, "--", "systemctl", "is-active", *units)
        return platform_lab.call(*command, expect=None, timeout=30).stdout.split()

    platform_lab.on(node, "mv /usr/sbin/nft /usr/sbin/nft.away; systemctl poweroff --force --force || true")
    wait_until("the plan says so", lambda: any(f"container {node}" in line for line in platform_lab.lines()), 120)
    with ThreadPoolExecutor(1) as pool:
        apply = pool.submit(platform_lab.call, "apply", timeout=600)
        try:
            wait_until("it boots", lambda: active("basic.target", "dbus") == ["active", "active"], 60)
            assert active("tercet-firewall", "tailscaled") == ["activating", "inactive"]
        finally:
            platform_lab.on(node, "mv /usr/sbin/nft.away /usr/sbin/nft")
        apply.result()
    platform_lab.call("verify")


def test_an_address_outside_the_tailnet_in_the_catalogue_is_refused_and_changes_nothing(platform_lab: Lab) -> None:
    node, database = away_from(platform_lab.primary())
    agent = f"{DCS}/agent/service"
    crafted = '{"Name": "proposalsapp", "ID": "crafted", "Tags": ["primary", "replica"], "Address": "192.0.2.1 }; #"}'
    routes = "cat /run/tercet-routes/map; nft list map ip tercet_routes target"
    before = platform_lab.on(node, routes)
    platform_lab.on(database, f"{CURL} -sf -X PUT -d '{crafted}' {agent}/register")
    try:
        wait_until("it is in the file", lambda: "192.0.2.1" in platform_lab.on(node, f"cat {ROUTES}"), 60)
        said = "journalctl -u tercet-routes -o cat --no-pager | grep -c \"refused '192.0.2.1 }; #'\" || true"
        wait_until("it is refused", lambda: platform_lab.on(node, said).strip() == "1", 60)
        assert platform_lab.on(node, routes) == before
    finally:
        platform_lab.on(database, f"{CURL} -sf -X PUT {agent}/deregister/crafted")


def test_a_connection_that_only_one_side_knows_ends(platform_lab: Lab) -> None:
    """As after a link that flapped: the server is gone, its farewell was lost, the client waits for its greeting."""
    server, client, port, unit = "apps-sib-01", "apps-fsn-01", 29777, "t-half-open"
    listen = f'import socket, time; s = socket.create_server(("", {port})); a = s.accept(); time.sleep(300)'
    table = "inet t_half_open"
    mute = (
        f"nft add table {table} && nft add chain {table} out '{{ type filter hook output priority 0; }}' && "
        f"nft add rule {table} out tcp sport {port} drop && systemctl kill -s KILL {unit} && sleep 1"
    )

    def sockets() -> str:
        return platform_lab.on(client, f"ss -Htn state established dport = :{port} | grep -c . || true").strip()

    try:
        platform_lab.on(server, f"systemd-run -q --collect --unit={unit} python3 -c '{listen}'")
        listens = f"ss -Htln sport = :{port} | grep -c . || true"
        wait_until("it listens", lambda: platform_lab.on(server, listens).strip() != "0", 60)
        greet = f"psql 'host={server} port={port} sslmode=disable'"
        platform_lab.on(client, f"systemd-run -q --collect --unit={unit} {greet}")
        wait_until("it is connected", lambda: sockets() == "1", 60)
        platform_lab.on(server, mute)
        assert sockets() == "1"
        platform_lab.on(server, f"nft delete table {table}")
        wait_until("its end is noticed", lambda: sockets() == "0", 60)
    finally:
        for node in (server, client):
            platform_lab.on(node, f"systemctl stop {unit}; nft delete table {table}; true")


GOSSIP = {"CheckID": "serfHealth", "Name": "Serf Health Status"}
PRIMARY_TAG = {"CheckID": "service:proposalsapp-primary", "ServiceID": "proposalsapp-primary", "Name": "primary"}


def told(lab: Lab, node: str, check: dict[str, str], status: str) -> str:
    """The command that makes `dcs` believe this of a node's check, until the node's agent or the leader corrects it."""
    may = f"-H 'Authorization: Bearer {tokens.management(secrets_of(lab))}'"
    body = {"Node": node, "Address": "unchanged", "SkipNodeUpdate": True, "Check": check | {"Status": status}}
    return f"{CURL} -sf {may} -X PUT -d '{json.dumps(body)}' {DCS}/catalog/register > /dev/null"


def away_from(primary: str) -> tuple[str, str]:
    """The apps node and the database node of a site that does not have the primary."""
    site = next(site for site in ("sib-01", "sib-03", "fsn-01") if site not in primary)
    return f"apps-{site}", f"db-{site}"


# Runs a statement that takes longer than this test, through the proxy.
STATEMENT = """
export PGPASSFILE=/etc/tercet/application.pgpass
psql -XAtq -h localhost -U proposalsapp -d proposalsapp -c 'SELECT pg_sleep(300)' 2>&1
"""
MUTE = "table ip mute { chain out { type filter hook output priority 0; tcp flags & rst == rst drop; }; }"


@pytest.mark.parametrize("lost", [False, True], ids=["told", "lost"])
def test_an_application_learns_that_the_databases_side_ended_its_session(platform_lab: Lab, lost: bool) -> None:
    """The guard of the primary's node takes the application's node for silent, and no other guard does. The kernel
    tells the other side once that the connections have ended; this packet may be lost.
    """
    primary = platform_lab.primary()
    apps, _ = away_from(primary)
    probed = "ss -Htno state established dst 198.18.0.0/24 | grep -c keepalive || true"
    end = "nft add element inet tercet_guard silent { $address }; ss -K state established dst $address"
    if lost:
        end = f"nft '{MUTE}'; {end}; nft delete table ip mute"
    with ThreadPoolExecutor(1) as pool:
        session = pool.submit(platform_lab.on, apps, STATEMENT + "true")
        wait_until("it runs", lambda: platform_lab.on(apps, probed).strip() == "2", 60)
        platform_lab.on(primary, f"address=$(getent hosts {apps} | cut -d' ' -f1); {end}")
        wait_until("the application has an error", session.done, 30)
    assert "connection to server was lost" in session.result()
    platform_lab.wait_until_healthy()


def test_gossip_that_is_wrong_ends_no_session_and_moves_no_read(platform_lab: Lab) -> None:
    """As when a site returns from a short cut: for a moment, its agents make the others believe that healthy nodes have
    failed.
    """
    primary = platform_lab.primary()
    apps, standby = away_from(primary)

    def wrongly(node: str, meanwhile: str) -> str:
        """What this script on an apps node says while the leader of `dcs` believes that the node has failed."""
        tell = partial(told, platform_lab, node, GOSSIP)
        script = f"{tell('critical')}; {meanwhile}; {tell('passing')}"
        return platform_lab.on(apps, f"address=$(getent hosts {node} | cut -d' ' -f1); {script}")

    key = f"{CURL} -s {DCS}/kv/service/proposalsapp/leader | grep -o '\"Session\":[^}}]*'"
    before = platform_lab.on(apps, key)
    status = f'{CURL} -s {DCS}/health/node/{primary} | grep -o \'"Status":"critical"\' | head -n 1'
    assert wrongly(primary, f"{status}; sleep 2; {key}") == f'"Status":"critical"\n{before}'

    dropped = f'for _ in $(seq 20); do grep -q "^read $address$" {ROUTES} || break; sleep 0.1; done'
    routes = "cat /run/tercet-routes/map"
    shown = wrongly(standby, f'{dropped}; grep -c "^read $address$" {ROUTES}; {routes}')
    assert shown == "0\n" + platform_lab.on(apps, routes)
    platform_lab.wait_until_healthy()


def test_a_tag_from_before_a_cut_leads_no_writes_to_the_old_primary(platform_lab: Lab) -> None:
    """As when the old primary's site returns: gossip believes in the old primary before its agent has corrected its
    tag, and believes for a moment that the new primary has failed.
    """
    primary = platform_lab.primary()
    apps, standby = away_from(primary)
    tagged = f"'{DCS}/health/service/proposalsapp?passing&tag=primary'"
    passing = f'{CURL} -s {tagged} | grep -o \'"Node":"[^"]*"\' | sort -u'
    tell = partial(told, platform_lab)
    wrong = f"{tell(standby, PRIMARY_TAG, 'passing')}; {tell(primary, GOSSIP, 'critical')}"
    right = f"{tell(standby, PRIMARY_TAG, 'critical')}; {tell(primary, GOSSIP, 'passing')}"
    routes = "cat /run/tercet-routes/map"
    before = platform_lab.on(apps, routes)
    shown = platform_lab.on(apps, f"{wrong}; {passing}; sleep 1; {routes}; {right}")
    assert shown == f'"Node":"{standby}"\n{before}'
    platform_lab.wait_until_healthy()
