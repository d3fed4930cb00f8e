"""Who may use the platform's ports while sites are lost, with a real kernel."""

from __future__ import annotations

import select
import subprocess
import sys

from tercet.nodeside import allowlist
from tercet.nodeside.tailnet import Tailnet

from .namespaces import Namespaces

SOURCE = allowlist.__file__.removesuffix("/tercet/nodeside/allowlist.py")
HOSTS = """\
127.0.0.1 localhost
100.64.0.5 consul-nomad-sib-01   # lost
100.64.0.1 db-fsn-01
100.64.0.3 apps-fsn-01 apps
10.0.0.7 consul-nomad-fsn-01
"""
# Listens on these ports, TCP and UDP; prints what arrives by UDP.
LISTEN = """
import selectors, socket, sys
chosen = selectors.DefaultSelector()
listeners = [socket.create_server(("", port)) for port in (5432, 9301, 22)]
for port in (5432, 9301, 22):
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", port))
    chosen.register(datagrams, selectors.EVENT_READ)
print("listens", flush=True)
while True:
    for key, _ in chosen.select():
        print(key.fileobj.recv(100).decode(), flush=True)
"""
# What becomes of a connection within a second, and a datagram sent.
ASK = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
try:
    socket.create_connection((address, port), 1).close()
    print("open")
except TimeoutError:
    print("silence")
except ConnectionRefusedError:
    print("refused")
"""
TELL = 'import socket, sys; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (sys.argv[1], 9301))'


def test_only_names_of_members_with_an_address_in_the_tailnet_are_admitted() -> None:
    members = ["db-fsn-01", "apps-fsn-01", "consul-nomad-fsn-01", "unknown"]
    assert allowlist.addresses(HOSTS, members, Tailnet("100.64.0.0/10")) == ["100.64.0.1", "100.64.0.3"]


def ask(spaces: Namespaces, where: int, address: str, port: int) -> str:
    return spaces.line(spaces.start(where, sys.executable, "-c", ASK, address, str(port)))


def install(spaces: Namespaces, where: int, *allowed: str) -> None:
    text = allowlist.rules(list(allowed), "v1", [5432, 9301])
    nft = spaces.start(where, "nft", "-f", "-")
    assert nft.communicate(text, timeout=20)[1] == "" and nft.returncode == 0


def test_a_stranger_reaches_no_port_of_the_platform_and_is_not_reached() -> None:
    with Namespaces() as spaces:
        node, peer = spaces.new(), spaces.new()
        spaces.join(node, peer, 1)
        assert spaces.line(spaces.start(node, sys.executable, "-c", LISTEN)) == "listens"
        at_peer = spaces.start(peer, sys.executable, "-c", LISTEN)
        assert spaces.line(at_peer) == "listens"
        assert ask(spaces, peer, "10.9.1.1", 5432) == ask(spaces, node, "10.9.1.2", 9301) == "open"

        install(spaces, node)
        assert ask(spaces, peer, "10.9.1.1", 5432) == ask(spaces, peer, "10.9.1.1", 9301) == "silence"
        assert ask(spaces, node, "10.9.1.2", 9301) == "refused", "at once: nobody here waits for it"
        assert ask(spaces, peer, "10.9.1.1", 22) == ask(spaces, node, "10.9.1.2", 22) == "open", "no port of ours"
        assert ask(spaces, node, "127.0.0.1", 5432) == "open"
        told = spaces.start(node, sys.executable, "-c", TELL, "10.9.1.2")
        assert told.wait(20) != 0 or not _heard(at_peer)

        install(spaces, node, "10.9.1.2")
        assert ask(spaces, peer, "10.9.1.1", 5432) == ask(spaces, node, "10.9.1.2", 9301) == "open"
        assert "tercet_allowlist" in spaces.run(node, "nft list tables")


def test_what_stood_open_before_is_closed_too() -> None:
    """A connection of the old world that survived, such as that of a Raft leader, carries nothing more."""
    with Namespaces() as spaces:
        node, peer = spaces.new(), spaces.new()
        spaces.join(node, peer, 1)
        serve = 'import socket; s = socket.create_server(("", 9301)); c, _ = s.accept(); print(c.recv(9), flush=True)'
        server = spaces.start(node, sys.executable, "-c", serve)
        keep = (
            "import socket, sys, time\n"
            "for _ in range(100):\n"
            "    try: c = socket.create_connection(('10.9.1.1', 9301), 1); break\n"
            "    except OSError: time.sleep(0.05)\n"
            "print('connected', flush=True); sys.stdin.readline(); c.sendall(b'append'); sys.stdin.readline()"
        )
        client = spaces.start(peer, sys.executable, "-c", keep)
        assert spaces.line(client) == "connected"
        install(spaces, node)
        assert client.stdin is not None
        client.stdin.write("\n")
        client.stdin.flush()
        try:
            server.wait(2)
            heard = spaces.line(server)
        except subprocess.TimeoutExpired:
            heard = ""
        assert heard == ""


def _heard(process: subprocess.Popen[str]) -> bool:
    """A datagram was printed within a second."""
    return bool(select.select([process.stdout], [], [], 1)[0])
