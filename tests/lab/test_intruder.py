"""Who does not belong reaches nothing. These tests leave the platform as they found it."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from tercet.components.consul import tokens
from tercet.components.headscale.component import HEADSCALE, world_address
from tercet.components.headscale.declaration import AUTHORITY, HOSTNAME
from tercet.components.patroni.declaration import (
    APPLICATION_PASSWORD,
    REPLICATOR_PASSWORD,
    REWINDER_PASSWORD,
    SUPERUSER_PASSWORD,
)
from tercet.inventory.load import load
from tercet.providers.lab.layout import Layout, layout_of
from tercet.session.session import open_session
from tests.lab.conftest import DCS, NOMAD_TOKEN, Lab, secrets_of, wait_until
from tests.lab.outsider import KNOCK, Outsider, Tailnet

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3700)]

SITE = "sib-01"
# Address and port of each TCP socket that does not listen on loopback alone, and its program.
LISTENING = "ss -Hlntp | awk '{print $4, $6}' | grep -vE '^(127|\\[::1\\])'"


def layout(file: Path) -> Layout:
    return layout_of(load(file))


def listening(lab: Lab, node: str, but: str = "no program") -> set[int]:
    """The ports at which a node can be reached from elsewhere, if nothing is in the way, without those of a program."""
    sockets = [line.split(maxsplit=1) for line in lab.on(node, LISTENING).splitlines()]
    found = {int(address.rpartition(":")[2]) for address, program in sockets if but not in program}
    assert found, f"{node} listens nowhere"
    return found


def test_a_neighbour_on_the_bridge_reaches_no_node(platform_lab: Lab) -> None:
    """Neither a node's address on the bridge nor its tailnet address, for which Linux answers on the bridge, too."""
    made = layout(platform_lab.file)
    nodes = [container for container in made.containers if container.network.name == SITE]
    status = platform_lab.json("status", expect=None)
    tailnet = {node["name"]: node["address"] for site in status["sites"] for node in site["nodes"]}
    doors = [
        (address, port)
        for node in nodes
        for port in sorted({*listening(platform_lab, node.name), 22, 4646, 5432, 8008, 8500, 9500})
        for address in (str(node.address), tailnet[node.name])
    ]
    with Outsider(made, SITE) as outsider:
        outsider.route({tailnet[node.name]: str(node.address) for node in nodes})
        assert outsider.knock(doors) == []
        member = tailnet["apps-fsn-01"]  # may use PostgreSQL
        outsider.claim(member)
        database = next(node for node in nodes if node.disk)
        before = dropped(platform_lab, database.name)
        assert outsider.knock([(str(database.address), 5432), (tailnet[database.name], 5432)], member) == []
        assert dropped(platform_lab, database.name) >= before + 2, "dropped as forged: not answered to the member"


HERE = {5432, 8600, 9600}  # the proxy or PostgreSQL, and the DNS of Consul, on the own node
USERS = {"nobody": set[int](), "postgres": {5432, 8008, 8009, 9500}}  # what Patroni and the proxy need
# Address and port of each IPv4 socket that listens, without the doors that tailscaled itself has.
OWN_DOORS = "ss -Hlnt4p | awk '!/tailscaled/ {print $4}'"


@pytest.mark.parametrize("role", ["consul-nomad", "apps", "db"])
def test_a_user_of_a_node_reaches_no_api(platform_lab: Lab, role: str) -> None:
    """Neither at its own node nor at others. Whoever reached the API of `dcs` would be root on the database nodes."""
    node = f"{role}-{SITE}"
    status = platform_lab.json("status", expect=None)
    tailnet = {each["name"]: each["address"] for site in status["sites"] for each in site["nodes"]}
    doors = {tuple(door.rsplit(":", 1)) for door in platform_lab.on(node, OWN_DOORS).split()}
    for name, address in tailnet.items():
        doors |= {(address, str(port)) for port in listening(platform_lab, name, but="tailscaled")}
    tried = json.dumps([(address, int(port)) for address, port in doors])
    for user, allowed in USERS.items():
        knock = ["runuser", "-u", user, "--", "python3", "-c", KNOCK, "0.0.0.0"]
        answers = json.loads(platform_lab.on(node, f"echo {shlex.quote(tried)} | {shlex.join(knock)}"))
        own = ("127.0.0.1", tailnet[node])
        opened = {
            f"{address}:{port}"
            for address, port, said in answers
            if said == "open" and port not in allowed and not (address in own and port in HERE)
        }
        assert opened == set(), f"{user} on {node}"


CONFIG = "kv/service/proposalsapp/config"  # Patroni runs the commands that it finds here
CONTROL, APPS, DATABASE = (f"{role}-{SITE}" for role in ("consul-nomad", "apps", "db"))
FOR_THE_MANAGER = [
    ("GET", "acl/tokens", ""),
    ("PUT", "acl/token", '{"Policies": [{"Name": "global-management"}]}'),
    ("GET", "snapshot", ""),  # has all tokens
    ("PUT", "kv/t-intruder", "x"),
    ("PUT", "catalog/register", '{"Node": "db-fsn-01", "Address": "192.0.2.1"}'),
    ("PUT", "catalog/deregister", '{"Node": "db-fsn-01"}'),
]
FOR_DATABASES = [
    ("PUT", CONFIG, "x"),
    ("DELETE", CONFIG, ""),
    ("PUT", "session/create", f'{{"Node": "{DATABASE}"}}'),
    ("PUT", "agent/service/register", '{"Name": "proposalsapp", "Tags": ["primary"], "Port": 1}'),
]
FOR_SERVERS = [("PUT", "kv/tercet/count/consul-nomad-fsn-01", "9"), ("GET", "operator/raft/configuration", "")]
FOR_NODES = [("GET", CONFIG, "")]


def not_denied(lab: Lab, node: str, api: str, calls: list[tuple[str, str, str]], header: str = "") -> dict[str, str]:
    """The calls (method, path and body) that the node's agent answers with another status than 403, and that status.
    While the servers elect a leader, it answers 500, which denies nothing and gives nothing.
    """
    curl = f"curl -s -m 10 -o /dev/null -w '%{{http_code}}' {header}"
    again = "case $said in 5*) sleep 1; false ;; esac && break"
    script = "; ".join(
        f"for _ in 1 2 3 4 5; do said=$({curl} -X {method} -d {shlex.quote(body)} '{api}/{path}'); {again}; done; "
        "echo $said"
        for method, path, body in calls
    )
    said = zip(calls, lab.on(node, script).split(), strict=True)
    return {f"{method} {path}": status for (method, path, _), status in said if status != "403"}


@pytest.mark.parametrize(
    ("thief", "token", "denied"),
    [
        (APPS, "", [*FOR_THE_MANAGER, *FOR_SERVERS, *FOR_DATABASES]),  # the node's own token
        (CONTROL, "", [*FOR_THE_MANAGER, *FOR_DATABASES, FOR_SERVERS[0]]),
        (DATABASE, "", [*FOR_THE_MANAGER, *FOR_SERVERS]),
        (DATABASE, f"node {APPS}", [*FOR_THE_MANAGER, *FOR_SERVERS, *FOR_DATABASES]),
        (APPS, f"agent {APPS}", [*FOR_THE_MANAGER, *FOR_SERVERS, *FOR_DATABASES, *FOR_NODES]),
        (APPS, f"agent {DATABASE}", [*FOR_THE_MANAGER, *FOR_SERVERS, *FOR_DATABASES, *FOR_NODES]),
        (DATABASE, "anonymous", [*FOR_THE_MANAGER, *FOR_SERVERS, *FOR_DATABASES, *FOR_NODES]),
        (APPS, "invented", [*FOR_THE_MANAGER, *FOR_SERVERS, *FOR_DATABASES, *FOR_NODES]),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_a_token_of_dcs_gives_no_more_than_its_node_needs(
    platform_lab: Lab, thief: str, token: str, denied: list[tuple[str, str, str]]
) -> None:
    """Root of a node may use the token of its node, and tokens that were stolen elsewhere."""
    kind, _, node = token.partition(" ")
    secrets = secrets_of(platform_lab)
    stolen = {"node": tokens.of_node(secrets, node), "agent": tokens.of_agent(secrets, node), "invented": str(uuid4())}
    header = f"-H 'X-Consul-Token: {stolen.get(kind, kind)}'" if token else ""
    assert not_denied(platform_lab, thief, DCS, denied, header) == {}


AT_HOME = "http://127.0.0.1:8500/v1"  # the datacenter of the site
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
    call = f"curl -sf -m 10 -H 'Authorization: Bearer {tokens.management(secrets)}'"
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
  | .ports += {http: 9700, dns: -1, serf_wan: -1}' /etc/consul-dcs.d/agent.json > /run/t-rogue/agent.json
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
    management = f"curl -sf -m 10 -H 'Authorization: Bearer {tokens.management(secrets_of(platform_lab))}'"
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
        said = json.loads(platform_lab.on(APPS, "curl -sf -m 10 http://127.0.0.1:9700/v1/agent/self"))
        assert said["Stats"]["raft"]["last_log_index"] == "0"
        learnt = f"curl -s -m 10 -o /dev/null -w '%{{http_code}}' 'http://127.0.0.1:9700/v1/{CONFIG}?stale'"
        assert platform_lab.on(APPS, learnt) in ("404", "500")
        assert not (rogue() or {}).get("Voter")
    finally:
        platform_lab.on(APPS, GONE)
        platform_lab.on("world", CLOSE)
        wait_until("it is forgotten", forgotten, 60)
    wait_until("the platform is healthy", lambda: platform_lab.json("status", expect=None)["healthy"], 120)


NOMAD = "http://127.0.0.1:4646/v1"
RUN = {"Name": "t", "Driver": "raw_exec", "User": "nomad-job", "Config": {"command": "/bin/true"}}
JOB = {"ID": "t-intruder", "Name": "t", "Type": "batch", "TaskGroups": [{"Name": "t", "Tasks": [RUN]}]}
FOR_OPERATORS = [
    ("PUT", "jobs", json.dumps({"Job": JOB})),
    ("GET", "jobs", ""),
    ("GET", "acl/tokens", ""),
    ("GET", "operator/raft/configuration", ""),
    ("GET", "operator/snapshot", ""),
    ("PUT", "system/gc", ""),
    ("POST", "acl/bootstrap", "{}"),
]


@pytest.mark.parametrize("node", [CONTROL, APPS])
@pytest.mark.parametrize("token", ["", "invented"])
def test_without_its_token_nomad_does_nothing(platform_lab: Lab, node: str, token: str) -> None:
    header = f"-H 'X-Nomad-Token: {uuid4()}'" if token else ""
    already_done = {"POST acl/bootstrap": "400"}
    assert not_denied(platform_lab, node, NOMAD, FOR_OPERATORS, header) == already_done


# What a job does to the node that it runs on.
TRIES = """
exec 2>&1
id -u
bash -c '(: < /dev/tcp/127.0.0.1/5432) && echo the proxy answers'
for port in 4646 8500 9500; do bash -c "(: < /dev/tcp/127.0.0.1/$port) && echo $port answers"; done
cat /etc/tercet/*.pgpass && echo read a password
kill -0 1 && echo reached a process of root
"""
# Files that only the group of root may read or write, which Nomad gives to each job.
GROUP = r"""
find / /run -xdev -group 0 '(' -perm -040 ! -perm -004 -o -perm -020 ! -perm -002 ')' ! -type l -print 2> /dev/null |
  grep -vE '^/(dev|proc|sys|var/(cache/apt|lib/dpkg)|run/systemd)/' || true
"""


@pytest.mark.parametrize(
    ("user", "said"),
    [
        (None, "running as uid 0 is disallowed"),
        ("root", "running as uid 0 is disallowed"),
        ("postgres", "is disallowed"),
        ("nomad-job", "6000\nthe proxy answers\n"),
    ],
)
def test_a_job_is_not_root_and_reaches_only_the_proxy(platform_lab: Lab, user: str | None, said: str) -> None:
    control, apps = f"consul-nomad-{SITE}", f"apps-{SITE}"
    task = {
        "Name": "try",
        "Driver": "raw_exec",
        "User": user or "",
        "Config": {"command": "/bin/sh", "args": ["-c", TRIES]},
    }
    task |= {"Resources": {"CPU": 10, "MemoryMB": 16}, "LogConfig": {"MaxFiles": 1, "MaxFileSizeMB": 1}}
    group = {"Name": "try", "Tasks": [task], "EphemeralDisk": {"SizeMB": 10}}
    group |= {"RestartPolicy": {"Attempts": 0, "Mode": "fail"}}
    job = {"ID": "t-intruder", "Name": "t-intruder", "Type": "sysbatch", "Datacenters": ["dc1"], "TaskGroups": [group]}
    call = f'{NOMAD_TOKEN}; curl -sf -H "$may"'
    put = f"{call} -X PUT -d {shlex.quote(json.dumps({'Job': job}))} {NOMAD}/jobs > /dev/null"

    def allocation() -> dict[str, Any]:
        found = json.loads(platform_lab.on(control, f"{call} {NOMAD}/job/t-intruder/allocations"))
        return found[0] if found else {"ClientStatus": "none"}

    try:
        platform_lab.on(control, put)
        wait_until("it has ended", lambda: allocation()["ClientStatus"] in ("complete", "failed"), 60)
        ended = allocation()
        if user != "nomad-job":
            events = ended["TaskStates"]["try"]["Events"]
            assert said in " ".join(event["DisplayMessage"] for event in events)
            return
        out = platform_lab.on(apps, f"cat /var/lib/nomad/alloc/{ended['ID']}/alloc/logs/try.stdout.0")
        assert "\n".join(line for line in out.splitlines() if "answers" in line or line.isdigit()) + "\n" == said
        assert "read a password" not in out and "reached a process" not in out, out
        assert platform_lab.on(apps, GROUP) == "", "only for the group of root"
    finally:
        platform_lab.on(control, f"{call} -X DELETE {NOMAD}/job/t-intruder?purge=true > /dev/null")


# Arguments: host, connection string. The password is on standard input.
LOG_IN = """
read -r PGPASSWORD; export PGPASSWORD PGCONNECT_TIMEOUT=5
exec psql -XAtq "host=$1 $2" -c "$3" 2>&1
"""
ASK = "SELECT current_user"


class Login(NamedTuple):
    """An attempt: the secret with the password, the connection's options, what is asked, and the roles that may."""

    password: str
    options: str
    statement: str = ASK
    admitted: frozenset[str] = frozenset()


LOGINS = {
    "superuser": Login(SUPERUSER_PASSWORD, "user=postgres dbname=postgres"),
    "replicator": Login(REPLICATOR_PASSWORD, "user=replicator replication=true", "IDENTIFY_SYSTEM", frozenset({"db"})),
    "replicator for SQL": Login(REPLICATOR_PASSWORD, "user=replicator dbname=postgres"),
    "rewinder": Login(REWINDER_PASSWORD, "user=rewinder dbname=postgres", admitted=frozenset({"db"})),
    "rewinder for data": Login(REWINDER_PASSWORD, "user=rewinder dbname=proposalsapp"),
    "application": Login(APPLICATION_PASSWORD, "user=proposalsapp dbname=proposalsapp", admitted=frozenset({"apps"})),
}


@pytest.mark.parametrize("role", ["apps", "db"])
def test_a_password_is_of_use_only_where_its_role_needs_it(platform_lab: Lab, role: str) -> None:
    """The right passwords, at the primary: a database node may reach no other PostgreSQL (nodeside/follow.py)."""
    primary = platform_lab.json("status")["postgres"]["primary"]
    node = next(f"{role}-{site}" for site in (SITE, "sib-03") if not primary.endswith(site))
    said = dict[str, str]()
    for name, login in LOGINS.items():
        words = (node, "--", "sh", "-c", LOG_IN, "sh", primary, login.options, login.statement)
        given = f"{secrets_of(platform_lab).password(login.password)}\n"
        said[name] = platform_lab.call("exec", *words, expect=None, given=given).stdout
    refused = {name for name, text in said.items() if "pg_hba.conf" in text}
    assert refused == {name for name, login in LOGINS.items() if role not in login.admitted}, said
    assert not [text for name, text in said.items() if name not in refused and "error" in text], said


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


@pytest.mark.parametrize("unit", ["consul", "consul-dcs", "nomad"])
def test_a_server_changes_no_file_but_its_own(platform_lab: Lab, unit: str) -> None:
    script = f"""
    pid=$(systemctl show -P MainPID {unit})
    for path in /etc/systemd/system /usr/local/bin /var/lib/tercet /root /var/lib/{unit}; do
      nsenter --mount --target $pid touch $path/t-intruder 2> /dev/null && rm $path/t-intruder && echo $path
    done
    true
    """
    assert platform_lab.on(CONTROL, script).split() == [f"/var/lib/{unit}"]


@pytest.mark.parametrize(
    ("node", "user"), [(CONTROL, "consul"), (CONTROL, "nomad"), (APPS, "consul"), (DATABASE, "consul")]
)
def test_a_user_of_programs_reads_no_secret_of_others(platform_lab: Lab, node: str, user: str) -> None:
    secret = ["find", "/etc", "/opt", "/root", "/run", "/usr", "/var", "-type", "f", "!", "-perm", "-o=r", "-readable"]
    found = platform_lab.on(node, f"runuser -u {user} -- {shlex.join(secret)} 2> /dev/null || true").split()
    own = [path for path in found if re.match(rf"/etc/{user}|/var/lib/{user}", path)]
    assert found == own
    assert f"/etc/{user}-tls/node.pem" in found


def dropped(lab: Lab, node: str) -> int:
    """The packets that a node dropped because their addresses cannot come from there."""
    rules = lab.on(node, "nft list chain inet tercet_firewall forged")
    return sum(int(packets) for packets in re.findall(r"counter packets (\d+)", rules))


KEY = f"""
id=$({HEADSCALE} users list -o json | jq -r '.[0].id')
{HEADSCALE} preauthkeys create --user "$id" --tags tag:stranger --expiration 5m -o json | jq -er .key
"""
FORGET = f"""
for id in $({HEADSCALE} nodes list -o json | jq -r '.[] | select(.given_name | startswith("stranger")) | .id'); do
  {HEADSCALE} nodes delete -i "$id" --force
done
"""


def test_a_device_of_the_tailnet_that_is_no_node_reaches_no_node(platform_lab: Lab, tmp_path: Path) -> None:
    """It does not even see the nodes. If the tailnet's policy is gone, its packets arrive, but the nodes do not answer.
    tailscaled itself does then: it takes what is for its PeerAPI out of the tunnel before the kernel sees it.
    """
    status = platform_lab.json("status", expect=None)
    tailnet = {node["name"]: node["address"] for site in status["sites"] for node in site["nodes"]}
    doors = [
        (address, port)
        for name, address in tailnet.items()
        for port in sorted({*listening(platform_lab, name, but="tailscaled"), 22, 4646, 5432, 8008, 8500, 9500})
    ]
    try:
        with (
            Outsider(layout(platform_lab.file), SITE) as outsider,
            outsider.joined(asyncio.run(entry(platform_lab)), tmp_path) as tailscale,
        ):
            address = subprocess.run([*tailscale, "ip", "-4"], capture_output=True, text=True, timeout=20, check=True)
            assert str(IPv4Address(address.stdout.strip())) not in tailnet.values()
            assert seen(tailscale) == set()
            assert outsider.knock(doors) == []
            platform_lab.on("world", OPEN)
            wait_until("it sees the nodes", lambda: seen(tailscale) >= {*tailnet.values()}, 30)
            for name, node in tailnet.items():
                ping = [*tailscale, "ping", "--timeout=5s", "--c=5", node]
                assert "pong" in subprocess.run(ping, capture_output=True, text=True, timeout=60, check=True).stdout, (
                    name
                )
            assert outsider.knock(doors) == []
    finally:
        platform_lab.on("world", FORGET + CLOSE)


def seen(tailscale: list[str]) -> set[str]:
    """The addresses of the devices that a device of the tailnet knows."""
    done = subprocess.run([*tailscale, "status", "--json"], capture_output=True, timeout=20, check=True)
    peers = json.loads(done.stdout)["Peer"] or {}
    return {address for peer in peers.values() for address in peer["TailscaleIPs"]}


async def entry(lab: Lab) -> Tailnet:
    """A way into the lab's tailnet with another tag."""
    async with open_session(lab.file) as session:
        context = session.context
        [tailscaled], [tailscale] = context.program("tailscaled"), context.program("tailscale")
        authority = context.secrets.pair(AUTHORITY).certificate
        address = str(world_address(context))
    key = await asyncio.to_thread(lab.on, "world", KEY)
    return Tailnet(tailscaled.source, tailscale.source, HOSTNAME, address, authority, key.strip())
