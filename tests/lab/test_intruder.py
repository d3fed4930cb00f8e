"""Who does not belong reaches nothing. These tests leave the platform as they found it."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
from typing import Any

import pytest

from tercet.components.consul import tokens
from tercet.components.headscale.component import HEADSCALE
from tercet.drills.intruder import outside
from tercet.drills.intruder.stranger import joined, seen
from tercet.host.command import command
from tercet.session.session import open_session
from tests.lab.conftest import AT_HOME, CURL, DCS, Lab, secrets_of, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3700)]

SITE = "sib-01"
# The ports of tailscaled's PeerAPI.
PEER_API = "ss -Hlntp | grep tailscaled | awk '{print $4}'"


def peer_api(lab: Lab, node: str) -> set[int]:
    return {int(each.rpartition(":")[2]) for each in lab.on(node, PEER_API).split()}


# Connects to ADDRESS:PORT from another address; prints "silence", or what answered.
CONNECT = """
import socket, sys
address, _, port = sys.argv[2].rpartition(":")
try:
    socket.create_connection((address, int(port)), 2, (sys.argv[1], 0))
    print("open")
except TimeoutError:
    print("silence")
except OSError as error:
    print(error)
"""


async def test_a_members_address_is_of_no_use_on_the_bridge(platform_lab: Lab) -> None:
    """The database's node drops as forged what comes from there, instead of answering to the member."""
    async with open_session(platform_lab.file) as session:
        nodes = await outside.targets(session)
        database, member = nodes[DATABASE], nodes["apps-fsn-01"].tailnet  # may use PostgreSQL
        before = await asyncio.to_thread(dropped, platform_lab, DATABASE)
        async with session.provider.neighbour(SITE) as here:
            await command([*here, "ip", "address", "add", f"{member}/32", "dev", "lo"], doing="claim an address")
            route = ["ip", "route", "add", database.tailnet, "via", database.bridge]
            await command([*here, *route], doing="route to a node")
            for address in (database.bridge, database.tailnet):
                words = [sys.executable, "-c", CONNECT, member, f"{address}:5432"]
                assert (await command([*here, *words], doing="connect")).strip() == "silence"
        assert await asyncio.to_thread(dropped, platform_lab, DATABASE) >= before + 2


CONFIG = "kv/service/proposalsapp/config"  # Patroni runs the commands that it finds here
CONTROL, APPS, DATABASE = (f"{role}-{SITE}" for role in ("consul-nomad", "apps", "db"))


def not_denied(lab: Lab, node: str, api: str, calls: list[tuple[str, str, str]], header: str = "") -> dict[str, str]:
    """The calls (method, path and body) that the node's agent answers with another status than 403, and that status.
    While the servers elect a leader, it answers 500, which denies nothing and gives nothing.
    """
    curl = f"{CURL} -s -m 10 -o /dev/null -w '%{{http_code}}' {header}"
    again = "case $said in 5*) sleep 1; false ;; esac && break"
    script = "; ".join(
        f"for _ in 1 2 3 4 5; do said=$({curl} -X {method} -d {shlex.quote(body)} '{api}/{path}'); {again}; done; "
        "echo $said"
        for method, path, body in calls
    )
    said = zip(calls, lab.on(node, script).split(), strict=True)
    return {f"{method} {path}": status for (method, path, _), status in said if status != "403"}


def test_the_intruder_is_refused_everything_and_finds_holes(platform_lab: Lab) -> None:
    """Without the holes, its verdicts would prove nothing. `apply` closes them."""
    call = f"{CURL} -sf -m 10 -H 'Authorization: Bearer {tokens.management(secrets_of(platform_lab))}'"
    policy = json.loads(platform_lab.on(CONTROL, f"{call} {DCS}/acl/policy/name/{APPS}"))
    rules = json.dumps({**json.loads(policy["Rules"]), "operator": "read"})
    body = json.dumps({"Name": APPS, "Description": policy["Description"], "Rules": rules})
    readable = "/etc/consul-tokens.json"
    try:
        platform_lab.on(CONTROL, f"{call} -X PUT -d {shlex.quote(body)} {DCS}/acl/policy/{policy['ID']} > /dev/null")
        platform_lab.on(APPS, f"nft insert rule inet tercet_firewall users tcp dport 8500 accept; chmod 644 {readable}")
        platform_lab.on(APPS, "nft insert rule inet tercet_firewall outside tcp dport 8500 accept")
        made = platform_lab.json("drill", "intruder", expect=1)
    finally:
        platform_lab.on(APPS, "systemctl restart tercet-firewall")
        platform_lab.call("apply")
    positions = {each["position"] for each in made}
    assert {f"{user} on {node}" for user in ("nobody", "postgres") for node in (CONTROL, APPS, DATABASE)} <= positions
    assert {f"root on {APPS} with {what}" for what in ("its own token", "no token", "an invented token")} <= positions
    assert {f"root on apps-{other}" for other in ("sib-01", "sib-03")} & positions
    assert {f"a guest on the bridge of {SITE}", "a device of the tailnet with another tag"} <= positions
    assert {"a job without a user", "a job as root", "a job as postgres", "a job as nomad-job"} <= positions
    found = {each["position"]: each["reached"] for each in made if each["reached"]}
    assert set(found) == {
        f"nobody on {APPS}",
        f"postgres on {APPS}",
        f"root on {APPS} with its own token",
        f"root on {DATABASE} with the token of {APPS}",
        "a job as nomad-job",
        f"a guest on the bridge of {SITE}",
    }, found
    assert found[f"a guest on the bridge of {SITE}"].startswith("refused ")
    assert "GET /v1/operator/raft/configuration: status 200" in found[f"root on {APPS} with its own token"]
    assert "127.0.0.1:8500" in found[f"nobody on {APPS}"]
    assert readable in found["a job as nomad-job"] and "port 8500" in found["a job as nomad-job"]
    assert platform_lab.plan()["empty"]


def test_no_database_node_passes_for_another(platform_lab: Lab) -> None:
    """As if the name of another node led to the primary, the only one that a standby may ask."""
    primary = platform_lab.primary()
    standby, other = (name for name in ("db-sib-01", "db-sib-03", "db-fsn-01") if name != primary)
    address = platform_lab.on(standby, f"getent hosts {primary}").split()[0]
    trusting = "user=replicator replication=true sslmode=verify-full sslrootcert=/etc/postgresql-tls/ca.pem"
    for name, expected in ((primary, "no password supplied"), (other, f'does not match host name "{other}"')):
        said = platform_lab.on(standby, f"psql -w 'host={name} hostaddr={address} {trusting}' 2>&1 || true")
        assert expected in said, said


# Asks the node's Consul for the IPv4 addresses of a name, and prints how many there are.
RESOLVE = r"""
import socket, sys
name = b"".join(bytes([len(label)]) + label.encode() for label in sys.argv[1].split("."))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
    asked.settimeout(10)
    asked.sendto(b"\0\1\1\0\0\1\0\0\0\0\0\0" + name + b"\0\0\1\0\1", ("127.0.0.1", 8600))
    print(int.from_bytes(asked.recv(512)[6:8], "big"))
"""
AWAY = [
    ("PUT", "kv/t-intruder", "x"),
    ("GET", "acl/tokens", ""),
    ("PUT", "agent/force-leave/db-sib-01", ""),
    ("PUT", "catalog/register?dc=dc2", '{"Node": "db-sib-03", "Address": "192.0.2.1"}'),
]


@pytest.mark.parametrize(
    ("node", "denied"),
    [
        (APPS, [*AWAY, ("PUT", f"{CONFIG}?dc=dcs", "x")]),
        (DATABASE, [*AWAY, ("PUT", "agent/service/register", '{"Name": "t-intruder"}')]),
    ],
    ids=[APPS, DATABASE],
)
def test_a_node_may_only_look_up_at_other_sites(
    platform_lab: Lab, node: str, denied: list[tuple[str, str, str]]
) -> None:
    assert not_denied(platform_lab, node, AT_HOME, denied) == {}
    for name in (f"{DATABASE}.node.dcs", "primary.proposalsapp.service.dcs", "consul-nomad-fsn-01.node.dc3"):
        assert int(platform_lab.on(node, f"python3 -c {shlex.quote(RESOLVE)} {name}.consul")) >= 1, name


def test_tokens_that_are_gone_come_back(platform_lab: Lab) -> None:
    """The platform works on, and `apply` creates them again; one that tercet did not make stays."""
    secrets = secrets_of(platform_lab)
    call = f"{CURL} -sf -m 10 -H 'Authorization: Bearer {tokens.management(secrets)}'"
    own = '{"Description": "of an operator", "NodeIdentities": []}'
    made = json.loads(platform_lab.on(CONTROL, f"{call} -X PUT -d '{own}' {DCS}/acl/token"))["AccessorID"]
    try:
        platform_lab.on(CONTROL, f"{call} -X DELETE {DCS}/acl/token/{tokens.accessor(secrets, APPS)}")
        assert "there is no token for tercet apps-sib-01" in platform_lab.call("plan", expect=2).stdout
        platform_lab.call("apply")
        assert platform_lab.plan()["empty"]
        assert platform_lab.on(CONTROL, f"{call} {DCS}/acl/token/{made}")
    finally:
        platform_lab.on(CONTROL, f"{call} -X DELETE {DCS}/acl/token/{made}")
    platform_lab.call("verify")


# As if the tailnet had no access controls.
OPEN = f"""
echo '{{"acls": [{{"action": "accept", "src": ["*"], "dst": ["*:*"]}}]}}' > /run/t-open.json
{HEADSCALE} policy set --file /run/t-open.json
"""
CLOSE = "systemctl restart tailnet-policy"
# A server of `dcs` with all that root of an apps node has. The node's own agent and firewall make room for it.
ROGUE = """
set -e
rm -rf /run/t-rogue && mkdir -m 700 -p /run/t-rogue/data
jq '. + {server: true, node_name: "t-rogue", data_dir: "/run/t-rogue/data", acl: {enabled: false}}
  | .ports += {https: 9700, dns: -1, serf_wan: -1}' /etc/consul-dcs.d/agent.json > /run/t-rogue/agent.json
systemctl stop consul-dcs
nft insert rule inet tercet_firewall input tcp dport 9300 accept
systemd-run -q --collect --unit=t-rogue consul agent -config-file=/run/t-rogue/agent.json \
  -config-file=/etc/consul-gossip.json
"""
GONE = "systemctl stop t-rogue; rm -rf /run/t-rogue; systemctl restart tercet-firewall; systemctl start consul-dcs"


def test_a_server_on_an_apps_node_learns_nothing(platform_lab: Lab) -> None:
    """The leader counts it as a server, because gossip says so, but sends its log only to who has the right name.
    Neither the node's firewall nor the tailnet's access controls keep the leader from it.
    """
    management = f"{CURL} -sf -m 10 -H 'Authorization: Bearer {tokens.management(secrets_of(platform_lab))}'"
    peers = f"{management} {DCS}/operator/raft/configuration"

    def rogue() -> dict[str, Any] | None:
        servers = json.loads(platform_lab.on(CONTROL, peers))["Servers"]
        return next((server for server in servers if server["Node"] == "t-rogue"), None)

    def forgotten() -> bool:
        """Consul, too, forgets a server that is gone, and refuses to do so twice."""
        member = "t-rogue" in platform_lab.on(CONTROL, f"{management} {DCS}/agent/members")
        if member:
            platform_lab.on(CONTROL, f"{management} -X PUT '{DCS}/agent/force-leave/t-rogue?prune=true' || true")
        if peer := rogue():
            delete = f"{management} -X DELETE '{DCS}/operator/raft/peer?id={peer['ID']}'"
            platform_lab.on(CONTROL, f"{delete} || true")
        return not member and peer is None

    try:
        platform_lab.on("world", OPEN)
        platform_lab.on(APPS, ROGUE)
        wait_until("the leader has added it", lambda: rogue() is not None, 60)
        refused = "journalctl -u consul-dcs -o cat --no-pager | grep -c 't-rogue.*x509\\|x509.*9300' || true"
        controls = [CONTROL, "consul-nomad-sib-03", "consul-nomad-fsn-01"]
        wait_until("it is refused", lambda: any(int(platform_lab.on(each, refused)) > 2 for each in controls), 60)
        said = json.loads(platform_lab.on(APPS, f"{CURL} -sf -m 10 https://127.0.0.1:9700/v1/agent/self"))
        assert said["Stats"]["raft"]["last_log_index"] == "0"
        learnt = f"{CURL} -s -m 10 -o /dev/null -w '%{{http_code}}' 'https://127.0.0.1:9700/v1/{CONFIG}?stale'"
        assert platform_lab.on(APPS, learnt) in ("404", "500")
        assert not (rogue() or {}).get("Voter")
    finally:
        platform_lab.on(APPS, GONE)
        platform_lab.on("world", CLOSE)
        wait_until("it is forgotten", forgotten, 60)
    platform_lab.wait_until_healthy(120)


# Takes the port of the `dcs` agent, for 6 s without TLS and for 6 s with a certificate that nobody trusts. Prints for
# each caller its first byte, or the result of the handshake.
FALSE = """
set -e
mkdir -m 700 -p /run/t-false
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=false \\
  -addext subjectAltName=IP:127.0.0.1 -keyout /run/t-false/pem -out /run/t-false/cert 2> /dev/null
cat /run/t-false/cert >> /run/t-false/pem
systemctl stop consul-dcs
exec python3 -c '
import socket, ssl, time
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/run/t-false/pem")
begun = time.monotonic()
with socket.create_server(("127.0.0.1", 9500)) as listener:
    while (passed := time.monotonic() - begun) < 12:
        listener.settimeout(12 - passed)
        try:
            caller, _ = listener.accept()
        except TimeoutError:
            break
        caller.settimeout(1)
        try:
            if passed < 6:
                print("began with", caller.recv(1).hex())
            else:
                print("said", context.wrap_socket(caller, server_side=True).recv(4096))
        except OSError as error:
            print("refused", getattr(error, "reason", error))
        caller.close()
'
"""
TRUE = "rm -rf /run/t-false; systemctl start consul-dcs"
CLIENT_HELLO = "began with 16"


def test_what_answers_in_the_place_of_an_agent_learns_no_token(platform_lab: Lab) -> None:
    """Programs of root send their token to a port that is free while the agent is down."""
    try:
        said = set(platform_lab.on(APPS, FALSE).splitlines())
    finally:
        platform_lab.on(APPS, TRUE)
    assert CLIENT_HELLO in said
    refusals = said - {CLIENT_HELLO}
    assert refusals and all(line.startswith("refused ") and "ALERT" in line for line in refusals), said
    platform_lab.wait_until_healthy(120)


# Files that only the group of root may read or write, which Nomad gives to each job.
GROUP = r"""
find / /run -xdev -group 0 '(' -perm -040 ! -perm -004 -o -perm -020 ! -perm -002 ')' ! -type l -print 2> /dev/null |
  grep -vE '^/(dev|proc|sys|var/(cache/apt|lib/dpkg)|run/systemd)/' || true
"""


def test_the_group_of_root_gives_a_job_nothing(platform_lab: Lab) -> None:
    """Nomad gives it to each job (components/nomad/component.py)."""
    assert platform_lab.on(APPS, GROUP) == ""


# Of each running unit of the platform: its name, the capabilities that it may have, and what the kernel says of its
# main process: its bounding set, whether it can gain no privileges, and whether its system calls are filtered.
SANDBOXES = """
cd /etc/systemd/system
for unit in *.service; do
  pid=$(systemctl show -P MainPID $unit)
  [ $pid = 0 ] || echo $unit $(systemctl show -P CapabilityBoundingSet $unit | tr ' ' ,) \\
    $(sed -nE 's/^(CapBnd|NoNewPrivs|Seccomp):\\t//p' /proc/$pid/status)
done
"""
# linux/capability.h
CAPABILITIES = {
    "cap_chown": 0,
    "cap_dac_override": 1,
    "cap_dac_read_search": 2,
    "cap_fowner": 3,
    "cap_kill": 5,
    "cap_setuid": 7,
    "cap_net_admin": 12,
    "cap_net_raw": 13,
    "cap_sys_ptrace": 19,
}


@pytest.mark.parametrize(("role", "least"), [("consul-nomad", 9), ("apps", 9), ("db", 11)])
def test_the_kernel_holds_each_program_to_its_sandbox(platform_lab: Lab, role: str, least: int) -> None:
    lines = platform_lab.on(f"{role}-{SITE}", SANDBOXES).splitlines()
    found = {words[0]: words[1:] for words in map(str.split, lines)}
    if role == "apps":
        assert len(found.pop("nomad.service")) == 4  # its tasks may be anything
    assert len(found) >= least, found
    for unit, (*named, bounding, privileges, filtered) in found.items():
        names = named[0].split(",") if named else []
        assert int(bounding, 16) == sum(1 << CAPABILITIES[name] for name in names), unit
        assert (privileges, filtered) == ("1", "2"), unit


@pytest.mark.parametrize(
    ("node", "unit"),
    [(CONTROL, "consul"), (CONTROL, "consul-dcs"), (CONTROL, "nomad"), (APPS, "consul-template")],
)
def test_a_program_changes_no_file_but_its_own(platform_lab: Lab, node: str, unit: str) -> None:
    script = f"""
    pid=$(systemctl show -P MainPID {unit})
    for path in /etc/systemd/system /usr/local/bin /var/lib/tercet /root /var/lib/{unit}; do
      nsenter --mount --target $pid touch $path/t-intruder 2> /dev/null && rm $path/t-intruder && echo $path
    done
    true
    """
    assert platform_lab.on(node, script).split() == [f"/var/lib/{unit}"]


@pytest.mark.parametrize(
    ("node", "user", "own"),
    [
        (CONTROL, "consul", "/etc/consul-tls/node.pem"),
        (CONTROL, "nomad", "/etc/nomad-tls/node.pem"),
        (APPS, "consul", "/etc/consul-tls/node.pem"),
        (APPS, "consul-template", "/etc/consul-template/proxy.ctmpl"),
        (DATABASE, "consul", "/etc/consul-tls/node.pem"),
    ],
)
def test_a_user_of_programs_reads_no_secret_of_others(platform_lab: Lab, node: str, user: str, own: str) -> None:
    secret = ["find", "/etc", "/opt", "/root", "/run", "/usr", "/var", "-type", "f", "!", "-perm", "-o=r", "-readable"]
    found = platform_lab.on(node, f"runuser -u {user} -- {shlex.join(secret)} 2> /dev/null || true").split()
    assert [path for path in found if not re.match(rf"/(etc|var/lib)/{user}(?!-template)", path)] == []
    assert own in found


def dropped(lab: Lab, node: str) -> int:
    """The packets that a node dropped because their addresses cannot come from there."""
    rules = lab.on(node, "nft list chain inet tercet_firewall forged")
    return sum(int(packets) for packets in re.findall(r"counter packets (\d+)", rules))


async def test_the_nodes_do_not_answer_a_device_that_the_tailnet_admits(platform_lab: Lab) -> None:
    """If the tailnet's policy is gone, its packets arrive. tailscaled itself answers then: it takes what is for its
    PeerAPI out of the tunnel before the kernel sees it.
    """
    try:
        async with open_session(platform_lab.file) as session:
            nodes = await outside.targets(session)
            doors = []
            for name, node in nodes.items():
                own = await asyncio.to_thread(peer_api, platform_lab, name)
                doors += [(node.tailnet, port) for port in node.ports if port not in own]
            async with session.provider.neighbour(SITE) as here, joined(session, here) as tailscale:
                assert await seen(tailscale) == set()
                await asyncio.to_thread(platform_lab.on, "world", OPEN)
                async with asyncio.timeout(30):
                    while not await seen(tailscale) >= {node.tailnet for node in nodes.values()}:
                        await asyncio.sleep(0.5)
                for node in nodes.values():
                    ping = [*tailscale, "ping", "--timeout=5s", "--c=5", node.tailnet]
                    assert "pong" in await command(ping, doing="ping a node", timeout=60)
                assert await outside.answered(here, doors) == []
    finally:
        await asyncio.to_thread(platform_lab.on, "world", CLOSE)
