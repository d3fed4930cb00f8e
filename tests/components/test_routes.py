"""The program that keeps the two local addresses leading to the right nodes, run by a real kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tercet.components.proxy import routes

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("nft") or not shutil.which("unshare"), reason="needs root, nft and unshare"
)

# A socket that is connected through the given address prints what it hears and how it ends.
CLIENT = """
import socket, sys
c = socket.create_connection((sys.argv[1], 5432), 3)
print(c.recv(100).decode(), flush=True)
try:
    print("heard", c.recv(100))
except OSError as error:
    print(type(error).__name__)
"""
SERVER = r"""
import socket, sys, threading
def serve(address):
    listener = socket.create_server((address, 5432))
    print("listens\n", end="", flush=True)
    while True:
        connection, _ = listener.accept()
        connection.sendall(address.encode())
        kept.append(connection)
kept = []
for address in sys.argv[1:]:
    threading.Thread(target=serve, args=(address,)).start()
"""


class Node:
    """A network namespace with two further addresses that stand for database nodes."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "routes"
        self.program = folder / "program"
        self.program.write_text(routes._PROGRAM.replace(routes.FILE, str(self.file)))
        self.program.chmod(0o755)
        self._holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 99"], stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        self.run("ip", "link", "set", "lo", "up")
        for address in ("10.9.0.1", "10.9.0.2"):
            self.run("ip", "address", "add", f"{address}/32", "dev", "lo")
        self.server = self.start("python3", "-c", SERVER, "10.9.0.1", "10.9.0.2")
        for _ in range(2):
            assert self.line(self.server) == "listens"

    def start(self, *argv: str) -> subprocess.Popen[str]:
        inside = ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--", *argv]
        return subprocess.Popen(inside, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *argv: str, status: int = 0) -> str:
        process = self.start(*argv)
        out, err = process.communicate(timeout=20)
        assert process.returncode == status, err
        return out

    def lead(self, *lines: str) -> str:
        self.file.write_text("".join(f"{line}\n" for line in lines))
        return self.run(str(self.program), "apply")

    def client(self, address: str) -> subprocess.Popen[str]:
        return self.start("python3", "-c", CLIENT, address)

    @staticmethod
    def line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    def close(self) -> None:
        for process in (self.server, self._holder):
            process.kill()
            process.wait()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.close()


def test_each_address_leads_where_the_file_says_and_a_change_ends_the_old_connection_only(node: Node) -> None:
    told = node.lead("primary 10.9.0.1", "read 10.9.0.2")
    assert told.splitlines() == [f"{routes.PRIMARY} : 10.9.0.1", f"{routes.READ} : 10.9.0.2"]
    write, read = node.client(routes.PRIMARY), node.client(routes.READ)
    assert (node.line(write), node.line(read)) == ("10.9.0.1", "10.9.0.2")
    assert node.lead("primary 10.9.0.2", "read 10.9.0.2") == f"{routes.PRIMARY} : 10.9.0.2\n"
    assert node.line(write) == "ConnectionAbortedError"
    assert read.poll() is None
    write = node.client(routes.PRIMARY)
    assert node.line(write) == "10.9.0.2"
    for process in (write, read):
        process.kill()


def test_the_same_again_disturbs_nobody(node: Node) -> None:
    node.lead("primary 10.9.0.1", "read 10.9.0.2")
    client = node.client(routes.PRIMARY)
    assert node.line(client) == "10.9.0.1"
    assert node.lead("primary 10.9.0.1", "read 10.9.0.2") == ""
    assert client.poll() is None
    client.kill()


def test_an_address_without_a_target_refuses_at_once(node: Node) -> None:
    node.lead("primary 10.9.0.1", "read 10.9.0.2")
    assert "nowhere" in node.lead("primary ", "read ")
    process = node.client(routes.PRIMARY)
    assert process.wait(timeout=10) == 1
    assert process.stderr is not None and "ConnectionRefusedError" in process.stderr.read()


def test_check_finds_what_a_person_changed(node: Node) -> None:
    node.lead("primary 10.9.0.1", "read 10.9.0.2")
    node.run(str(node.program), "check")
    node.run("nft", "delete", "element", "ip", "tercet_routes", "target", f"{{ {routes.READ} }}")
    node.run(str(node.program), "check", status=1)
    node.run(str(node.program), "apply")
    node.run(str(node.program), "check")


def test_stop_leaves_nothing(node: Node) -> None:
    node.lead("primary 10.9.0.1", "read 10.9.0.2")
    node.run(str(node.program), "stop")
    assert node.run("nft", "list", "tables") == ""
    assert "198.18" not in node.run("ip", "-brief", "address")
