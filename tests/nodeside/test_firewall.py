"""What a node's firewall lets in, with a real kernel.

The node has two cables: v1 stands for the tailnet (10.9.1.0/24), v2 for the bridge of its server (10.9.2.0/24).
"""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tercet.nodeside import firewall
from tercet.nodeside.firewall import Rule, User
from tercet.nodeside.tailnet import Tailnet

from .namespaces import Namespaces

HOSTS = """\
127.0.0.1 localhost
100.64.0.5 consul-nomad-sib-01   # lost
100.64.0.1 db-fsn-01
100.64.0.3 apps-fsn-01 apps
10.0.0.7 consul-nomad-fsn-01
"""
NODE, MEMBER, ELSEWHERE = "10.9.1.1", "10.9.1.2", "10.9.2.2"
OPEN, CLOSED, OURS_NOT, JOIN = 5432, 8008, 8080, 41641
CONFIG: dict[str, Any] = {
    "interface": "v1",
    "tailnet": "10.9.1.0/24",
    "join": JOIN,
    "open": {"tailnet": [], "outside": []},
    "ports": [OPEN, CLOSED],
    "lost": False,
}
# Listens on these ports, TCP and UDP; prints how long each datagram is.
LISTEN = f"""
import selectors, socket
chosen = selectors.DefaultSelector()
for port in ({OPEN}, {CLOSED}, {OURS_NOT}, {JOIN}, 22):
    listener = socket.create_server(("", port))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", port))
    chosen.register(listener, selectors.EVENT_READ)
    chosen.register(datagrams, selectors.EVENT_READ)
print("listens", flush=True)
kept = []
while True:
    for key, _ in chosen.select():
        if key.fileobj.type == socket.SOCK_STREAM:
            kept.append(key.fileobj.accept())
        else:
            data = key.fileobj.recv(3000)
            print(len(data), key.fileobj.getsockname()[1], flush=True)
"""
# What becomes of connections to these ports within a second, all at once.
ASK = """
import asyncio, os, sys
os.setuid(int(sys.argv[1]))

async def ask(port):
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(sys.argv[2], port)
    except TimeoutError:
        return "silence"
    except ConnectionRefusedError:
        return "refused"
    writer.close()
    return "open"

async def main():
    return await asyncio.gather(*(ask(int(port)) for port in sys.argv[3:]))

print(*asyncio.run(main()))
"""
PING = """
import sys, time
from tercet.nodeside.pings import Pings
pings = Pings()
for _ in range(6):
    pings.send(set(sys.argv[1:]), time.monotonic())
    time.sleep(0.21)
pings.receive()
print(*sorted(set(sys.argv[1:]) - set(pings.silent())))
"""
TELL = """
import os, socket, sys
os.setuid(int(sys.argv[5]))
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.bind((sys.argv[3], 0))
own.sendto(b"x" * int(sys.argv[4]), (sys.argv[1], int(sys.argv[2])))
"""


class Wired:
    """The node, the member of the tailnet, and the outsider on the bridge."""

    def __init__(self, spaces: Namespaces) -> None:
        self.spaces = spaces
        self.node, self.member, self.outsider = spaces.new(), spaces.new(), spaces.new()
        spaces.join(self.node, self.member, 1)
        spaces.join(self.node, self.outsider, 2)
        spaces.run(self.outsider, f"ip route add {NODE} via 10.9.2.1")
        self.at_node = self.listen(self.node)

    def listen(self, where: int) -> subprocess.Popen[str]:
        listener = self.spaces.start(where, sys.executable, "-c", LISTEN)
        assert self.spaces.line(listener) == "listens"
        return listener

    def install(
        self, *rules: Rule, members: tuple[str, ...] = (MEMBER,), users: tuple[User, ...] = (), **config: Any
    ) -> None:
        nft = self.spaces.start(self.node, "nft", "-f", "-")
        said = nft.communicate(firewall.table({**CONFIG, **config}, members, rules, users), timeout=20)[1]
        assert said == "" and nft.returncode == 0

    def ask(self, where: int, address: str, *ports: int, uid: int = 0) -> list[str]:
        """What becomes of this user's connection to each of these ports."""
        asked = self.spaces.start(where, sys.executable, "-c", ASK, str(uid), address, *map(str, ports))
        return self.spaces.line(asked).split()

    def answer(self, where: int, *addresses: str) -> list[str]:
        """Which of these addresses answer pings."""
        return self.spaces.line(self.spaces.start(where, sys.executable, "-c", PING, *addresses)).split()

    def tell(
        self, where: int, address: str, port: int, *, source: str = "0.0.0.0", size: int = 9, uid: int = 0
    ) -> None:
        """Send a datagram of this user."""
        words = (address, str(port), source, str(size), str(uid))
        self.spaces.start(where, sys.executable, "-c", TELL, *words).wait(20)

    def arrives(
        self, where: int, address: str, port: int, *, source: str = "0.0.0.0", size: int = 9, uid: int = 0
    ) -> bool:
        """Whether this user's datagram to the node is read there, within a second."""
        self.tell(where, address, port, source=source, size=size, uid=uid)
        if not select.select([self.at_node.stdout], [], [], 1)[0]:
            return False
        return self.spaces.line(self.at_node) == f"{size} {port}"


@pytest.fixture
def wired() -> Iterator[Wired]:
    with Namespaces() as spaces:
        yield Wired(spaces)


def test_only_names_with_an_address_in_the_tailnet_are_members() -> None:
    members = ["db-fsn-01", "apps-fsn-01", "consul-nomad-fsn-01", "unknown"]
    assert firewall.known(HOSTS, members, Tailnet("100.64.0.0/10")) == ("100.64.0.1", "100.64.0.3")


def test_a_member_reaches_what_is_opened_for_it_and_nothing_else(wired: Wired) -> None:
    ports = OPEN, CLOSED, OURS_NOT, 22, JOIN
    assert wired.ask(wired.member, NODE, *ports) == ["open"] * 5
    wired.install(Rule((MEMBER,), tcp=(str(OPEN), "20000-32000"), udp=("9300-9302",)))
    assert wired.ask(wired.member, NODE, *ports) == ["open"] + ["silence"] * 4
    assert wired.ask(wired.member, NODE, 30000) == ["refused"], "open, and nothing listens"
    assert not wired.arrives(wired.member, NODE, OPEN), "opened for TCP alone"
    assert wired.answer(wired.member, NODE) == [NODE]
    wired.install(Rule((MEMBER,), udp=(str(OPEN),)))
    assert wired.arrives(wired.member, NODE, OPEN) and not wired.arrives(wired.member, NODE, CLOSED)


def test_the_node_itself_reaches_everybody(wired: Wired) -> None:
    wired.listen(wired.member)
    wired.listen(wired.outsider)
    wired.install()
    for address in (MEMBER, ELSEWHERE, NODE, "127.0.0.1"):
        assert wired.ask(wired.node, address, CLOSED) == ["open"]
    assert wired.answer(wired.node, MEMBER, ELSEWHERE) == [MEMBER, ELSEWHERE]


def test_a_user_reaches_only_what_users_may_use_here_and_elsewhere(wired: Wired) -> None:
    at_member, nobody, database = wired.listen(wired.member), 65534, 105
    for uid in (nobody, database):
        assert wired.ask(wired.node, NODE, OPEN, CLOSED, uid=uid) == ["open"] * 2
    wired.install(users=(User(None, (OPEN,)), User(database, (CLOSED,))))
    for address, everybodys in ((NODE, "open"), ("127.0.0.1", "open"), (MEMBER, "refused")):
        assert wired.ask(wired.node, address, OPEN, CLOSED, OURS_NOT, uid=nobody) == [everybodys, "refused", "open"]
        assert wired.ask(wired.node, address, OPEN, CLOSED, OURS_NOT, uid=database) == [everybodys, "open", "open"]
        assert wired.ask(wired.node, address, OPEN, CLOSED) == ["open"] * 2, "root"
    wired.listen(wired.outsider)
    assert wired.ask(wired.node, ELSEWHERE, CLOSED, uid=nobody) == ["open"], "no node of the platform"
    assert wired.arrives(wired.node, NODE, OPEN, uid=nobody) and wired.arrives(wired.node, NODE, CLOSED, uid=database)
    assert not wired.arrives(wired.node, NODE, CLOSED, uid=nobody)
    wired.tell(wired.node, MEMBER, CLOSED, uid=nobody)
    assert not select.select([at_member.stdout], [], [], 1)[0]


IMPOSTOR = """
import os, socket, sys, time
os.setuid(int(sys.argv[1]))
listener = socket.create_server(("", int(sys.argv[2])))
print("listens", flush=True)
time.sleep(60)
"""


def test_only_the_users_of_the_platforms_programs_answer_at_its_ports(wired: Wired) -> None:
    """Whoever takes a port while its program is down gets no connection, from this node or another."""
    nobody, database, taken, served = 65534, 4711, 8500, 9500
    for uid, port in ((nobody, taken), (database, served), (nobody, 8081)):
        listener = wired.spaces.start(wired.node, sys.executable, "-c", IMPOSTOR, str(uid), str(port))
        assert wired.spaces.line(listener) == "listens"
    assert wired.ask(wired.node, "127.0.0.1", taken, served, 8081) == ["open"] * 3
    opened = Rule((MEMBER,), tcp=(str(taken), str(served)))
    wired.install(opened, users=(User(database, (OPEN,)),), ports=[OPEN, CLOSED, taken, served])
    for where in (wired.node, wired.member):
        assert wired.ask(where, NODE, taken, served) == ["silence", "open"]
    assert wired.ask(wired.node, "127.0.0.1", taken, served, OPEN, 8081) == ["silence", "open", "open", "open"]


def test_a_user_that_the_node_does_not_have_is_left_out() -> None:
    assert firewall.named({"": [1], "root": [2], "no such user": [3]}) == [User(None, (1,)), User(0, (2,))]


def test_a_stranger_in_the_tailnet_reaches_only_what_is_open_to_everybody(wired: Wired) -> None:
    rule = Rule(("10.9.1.7",), tcp=(str(OPEN),))
    wired.install(rule, members=("10.9.1.7",))
    assert wired.ask(wired.member, NODE, OPEN, CLOSED, OURS_NOT, 22) == ["silence"] * 4
    assert wired.answer(wired.member, NODE) == []
    wired.install(rule, members=("10.9.1.7",), open={"tailnet": [22], "outside": []})
    assert wired.ask(wired.member, NODE, 22, OPEN) == ["open", "silence"]
    assert wired.ask(wired.outsider, "10.9.2.1", 22) == ["silence"]
    wired.install(rule, members=("10.9.1.7",), open={"tailnet": [OURS_NOT], "outside": [OURS_NOT]})
    assert wired.ask(wired.member, NODE, OURS_NOT) == wired.ask(wired.outsider, "10.9.2.1", OURS_NOT) == ["open"]
    assert wired.ask(wired.outsider, NODE, OURS_NOT) == ["silence"], "by the node's own address there"


def test_who_shares_the_bridge_reaches_only_what_joins_the_tailnet(wired: Wired) -> None:
    """Linux answers for the tailnet's address on the bridge, too."""
    assert wired.ask(wired.outsider, NODE, OPEN) == wired.ask(wired.outsider, "10.9.2.1", OPEN) == ["open"]
    wired.install(Rule((MEMBER,), tcp=(str(OPEN),), udp=(str(OPEN),)))
    for address in (NODE, "10.9.2.1"):
        assert wired.ask(wired.outsider, address, OPEN, CLOSED, OURS_NOT, 22, JOIN) == ["silence"] * 5
        assert not wired.arrives(wired.outsider, address, OPEN)
    assert wired.answer(wired.outsider, NODE, "10.9.2.1") == []
    assert wired.arrives(wired.outsider, "10.9.2.1", JOIN) and not wired.arrives(wired.outsider, NODE, JOIN)


def test_a_forged_address_of_a_member_is_dropped_on_the_bridge(wired: Wired) -> None:
    wired.spaces.run(wired.outsider, f"ip address add {MEMBER}/32 dev lo")
    for kind in ("all", "v2"):
        wired.spaces.run(wired.node, f"sysctl -qw net.ipv4.conf.{kind}.rp_filter=0")
    assert wired.arrives(wired.outsider, "10.9.2.1", OPEN, source=MEMBER)
    wired.install(Rule((MEMBER,), tcp=(str(OPEN),), udp=(str(OPEN),)))
    assert wired.arrives(wired.member, NODE, OPEN), "the member itself"
    assert not wired.arrives(wired.outsider, "10.9.2.1", OPEN, source=MEMBER)
    assert not wired.arrives(wired.outsider, "10.9.2.1", JOIN, source=MEMBER)


def test_a_datagram_in_fragments_arrives(wired: Wired) -> None:
    """Gossip sends up to 1,400 bytes; the tailnet's packets have 1,280."""
    wired.spaces.run(wired.member, "ip link set eth0 mtu 1280")
    wired.install(Rule((MEMBER,), udp=(str(OPEN),)))
    assert wired.arrives(wired.member, NODE, OPEN, size=1400)
    assert not wired.arrives(wired.member, NODE, CLOSED, size=1400)


def test_while_sites_are_lost_nobody_here_waits_for_them(wired: Wired) -> None:
    at_member = wired.listen(wired.member)
    wired.install(members=(), lost=True)
    assert wired.ask(wired.member, NODE, OPEN) == ["silence"]
    assert wired.ask(wired.node, MEMBER, OPEN, OURS_NOT) == ["refused", "open"], "at once; 8080 is no port of ours"
    assert wired.ask(wired.node, "127.0.0.1", OPEN) == ["open"]
    wired.tell(wired.node, MEMBER, OPEN)
    assert not select.select([at_member.stdout], [], [], 1)[0]
    wired.install(Rule((MEMBER,), tcp=(str(OPEN),)), lost=True)
    assert wired.ask(wired.member, NODE, OPEN) == wired.ask(wired.node, MEMBER, OPEN) == ["open"]


def test_an_open_connection_lasts_as_long_as_its_other_end_is_a_member(wired: Wired) -> None:
    """So a lost site's Raft leader, whose connection survived, changes nothing."""
    serve = (
        "import socket\n"
        "connection, _ = socket.create_server(('', 9999)).accept()\n"
        "while True: print(connection.recv(9), flush=True)"
    )
    server = wired.spaces.start(wired.node, sys.executable, "-c", serve)
    keep = (
        "import socket, sys, time\n"
        "for _ in range(100):\n"
        f"    try: c = socket.create_connection(('{NODE}', 9999), 1); break\n"
        "    except OSError: time.sleep(0.05)\n"
        "print('connected', flush=True)\n"
        "while sys.stdin.readline(): c.sendall(b'append')"
    )
    client = wired.spaces.start(wired.member, sys.executable, "-c", keep)
    assert wired.spaces.line(client) == "connected"

    def heard() -> bool:
        assert client.stdin is not None
        client.stdin.write("\n")
        client.stdin.flush()
        return bool(select.select([server.stdout], [], [], 1)[0]) and wired.spaces.line(server) == "b'append'"

    wired.install(ports=[OPEN, CLOSED, 9999])
    assert heard(), "it was open before, and is no new connection"
    wired.install(ports=[OPEN, CLOSED, 9999], members=())
    assert not heard()
