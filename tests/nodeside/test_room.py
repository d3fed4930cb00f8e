"""A full disk hands the lead over once, to somebody with room; a wrong reading and a pause do no harm."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tercet.nodeside import room
from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.room import BACK, FLOOR, FULL, LOOKS, MIB, RESERVE, ROOMY, SHORT, TIGHT, WORDS

from .delivery import loopback

PLENTY = 8192 * MIB


class Node(ThreadingHTTPServer):
    """A `dcs` agent and a Patroni in one. `levels` is what the nodes say of their room."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.levels = {"db-two": "roomy", "db-three": "roomy"}
        self.members = [
            {"name": "db-one", "role": "leader", "state": "running"},
            {"name": "db-two", "role": "quorum_standby", "state": "streaming", "lag": 9},
            {"name": "db-three", "role": "quorum_standby", "state": "streaming", "lag": 0},
        ]
        self.pause = False
        self.works = True
        self.switches: list[tuple[str, dict[str, str]]] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Answers(BaseHTTPRequestHandler):
    server: Node

    def do_GET(self) -> None:
        keys = [
            {"Key": f"tercet/room/{node}", "Value": base64.b64encode(word.encode()).decode()}
            for node, word in self.server.levels.items()
        ]
        cluster = {"members": self.server.members, **({"pause": True} if self.server.pause else {})}
        self._answer(cluster if self.path == "/cluster" else keys)

    def do_PUT(self) -> None:
        word = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.server.works:
            self.server.levels[self.path.rpartition("/")[2]] = word
        self._answer(True)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.switches.append((self.headers["Authorization"], body))
        self._answer("Successfully switched over")

    def _answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200 if self.server.works else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def node() -> Iterator[Node]:
    with Node() as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield server
        finally:
            server.shutdown()
            serving.join()


class Disk:
    """The room that is left, of which the reserve takes its part, and the clock."""

    def __init__(self, folder: Path, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reserve, self.full = folder / "reserve", folder / "full"
        self._node = node
        self.empty = PLENTY  # what would be left without the reserve
        self.now = 1000.0
        monkeypatch.setattr(room, "free", lambda _folder: self.left)
        monkeypatch.setattr(room, "make_reserve", lambda path: Path(path).touch())  # else each test writes it all
        monkeypatch.setattr(room.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(room, "print", lambda *_, **__: None, raising=False)

    @property
    def left(self) -> int:
        return self.empty - (RESERVE if self.reserve.exists() else 0)

    def fill(self, left: int) -> None:
        """Something else takes what is left, but for so many bytes."""
        self.empty += left - self.left

    def begin(self) -> room.Room:
        board = room.Board(loopback(self._node.port), "tercet/room", "db-one")
        patroni = room.Patroni(Endpoint("127.0.0.1", self._node.port, authorization="Basic secret"))
        found = room.Room("db-one", patroni, board, str(self.reserve), str(self.full))
        found.start()
        return found

    def poll(self, watched: room.Room, times: int = 1) -> None:
        for _ in range(times):
            watched.poll()
            self.now += room.LOOK_S


@pytest.fixture
def disk(tmp_path: Path, node: Node, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(tmp_path, node, monkeypatch)


def test_a_full_primary_hands_over_to_the_standby_with_room_and_the_least_lag(node: Node, disk: Disk) -> None:
    watched = disk.begin()
    assert disk.reserve.exists() and node.levels["db-one"] == "roomy"
    disk.fill(0)
    disk.poll(watched, LOOKS - 1)
    assert disk.reserve.exists() and node.switches == []
    assert node.levels["db-one"] == "short", "that is said at the first look"
    disk.poll(watched)
    credentials = "Basic secret"
    assert node.switches == [(credentials, {"leader": "db-one", "candidate": "db-three"})]
    assert not disk.reserve.exists() and disk.left == RESERVE
    assert disk.full.exists() and node.levels["db-one"] == "full"
    node.members[0]["role"], node.members[2]["role"] = "quorum_standby", "leader"
    disk.poll(watched, 100)
    assert len(node.switches) == 1, "once"


def test_a_moment_without_room_moves_nothing(node: Node, disk: Disk) -> None:
    watched = disk.begin()
    for _ in range(20):
        disk.fill(0)
        disk.poll(watched, LOOKS - 1)
        disk.fill(PLENTY)
        disk.poll(watched)
    assert node.switches == [] and disk.reserve.exists() and not disk.full.exists()
    disk.poll(watched, LOOKS)
    assert node.levels["db-one"] == "roomy"


def test_a_pause_of_its_own_and_a_failed_reading_count_nothing(
    node: Node, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = disk.begin()
    disk.fill(0)
    disk.poll(watched)
    disk.now += 3600

    def fails(_folder: str) -> int:
        raise OSError("no such file system")

    with monkeypatch.context() as broken:
        broken.setattr(room, "free", fails)
        for _ in range(100):
            with pytest.raises(OSError, match="no such file system"):
                watched.poll()
    disk.poll(watched, LOOKS - 2)
    assert node.switches == [] and disk.reserve.exists()


@pytest.mark.parametrize(
    ("levels", "candidate"),
    [
        ({"db-two": "roomy", "db-three": "short"}, "db-two"),
        ({"db-two": "roomy", "db-three": "full"}, "db-two"),
        ({"db-two": "roomy"}, "db-two"),
        ({"db-two": "short", "db-three": "full"}, ""),
        ({}, ""),
    ],
)
def test_nobody_hands_over_to_a_node_that_does_not_say_that_it_has_room(
    node: Node, disk: Disk, levels: dict[str, str], candidate: str
) -> None:
    node.levels = levels
    watched = disk.begin()
    disk.fill(FLOOR - 1)
    disk.poll(watched, 100)
    assert {body["candidate"] for _, body in node.switches} == ({candidate} if candidate else set())
    assert disk.full.exists(), "writes are refused meanwhile"


@pytest.mark.parametrize("change", [{"state": "running"}, {"lag": "unknown"}])
def test_nobody_hands_over_to_a_standby_that_does_not_stream(node: Node, disk: Disk, change: dict[str, Any]) -> None:
    node.members[1] |= change
    node.members[2] |= change
    watched = disk.begin()
    disk.fill(0)
    disk.poll(watched, 20)
    assert node.switches == []


def test_nothing_moves_while_patroni_is_paused_and_a_refused_switchover_is_asked_for_again(
    node: Node, disk: Disk
) -> None:
    node.pause = True
    watched = disk.begin()
    disk.fill(0)
    disk.poll(watched, 20)
    assert node.switches == [] and disk.full.exists()
    node.pause = False
    disk.poll(watched, int((room.ASK_S + room.AGAIN_S) / room.LOOK_S) + 1)
    assert len(node.switches) == 2


def test_with_room_again_it_is_as_before(node: Node, disk: Disk) -> None:
    node.levels = {"db-two": "full", "db-three": "full"}
    watched = disk.begin()
    disk.fill(0)
    disk.poll(watched, LOOKS)
    disk.fill(BACK - 1)
    disk.poll(watched, 20)
    assert disk.full.exists() and watched.level == FULL, "no reserve is made that would leave it full again"
    disk.fill(BACK)
    disk.poll(watched, LOOKS)
    assert not disk.full.exists() and disk.reserve.exists() and node.levels["db-one"] == "short"
    disk.fill(TIGHT + FLOOR)
    disk.poll(watched, LOOKS)
    assert node.levels["db-one"] == "roomy" and node.switches == []


@pytest.mark.parametrize("left", [0, BACK - 1])
def test_a_full_node_is_full_also_after_a_restart_of_the_program(node: Node, disk: Disk, left: int) -> None:
    watched = disk.begin()
    disk.fill(0)
    disk.poll(watched, LOOKS)
    disk.fill(left)
    disk.full.unlink()  # a boot clears /run
    again = disk.begin()
    assert again.level == FULL and disk.full.exists() and node.levels["db-one"] == "full"


def test_a_program_that_starts_says_at_once_that_there_is_little_room(node: Node, disk: Disk) -> None:
    disk.begin()
    disk.fill(TIGHT - 1)
    (disk.reserve.parent / "reserve.new").touch()  # it was killed while it made the reserve
    again = disk.begin()
    assert again.level == SHORT and node.levels["db-one"] == "short"
    assert not (disk.reserve.parent / "reserve.new").exists()


def test_what_it_could_not_tell_is_told_later_and_now_and_then_again(node: Node, disk: Disk) -> None:
    node.works = False
    watched = disk.begin()
    assert "db-one" not in node.levels
    node.works = True
    disk.poll(watched, int(room.ASK_S / room.LOOK_S) + 1)
    assert node.levels["db-one"] == "roomy"
    node.levels.clear()  # `dcs` lost its data
    disk.poll(watched, int(room.PUBLISH_S / room.LOOK_S) + 1)
    assert node.levels == {"db-one": "roomy"}


def test_where_nobody_answers_writes_are_refused_all_the_same(node: Node, disk: Disk) -> None:
    watched = disk.begin()
    node.works = False
    disk.fill(0)
    disk.poll(watched, 20)
    assert disk.full.exists() and node.switches == []


def test_the_reserve_takes_all_of_its_room(tmp_path: Path) -> None:
    room.make_reserve(str(tmp_path / "reserve"))
    made = (tmp_path / "reserve").stat()
    assert made.st_size == RESERVE and made.st_blocks * 512 >= RESERVE


def test_a_reserve_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(room.os, "fsync", fails)
    with pytest.raises(OSError, match="no space left"):
        room.make_reserve(str(tmp_path / "reserve"))
    assert list(tmp_path.iterdir()) == []


def test_levels_keep_apart_so_that_they_do_not_flap() -> None:
    assert room.wanted(ROOMY, TIGHT) == ROOMY and room.wanted(SHORT, TIGHT) == SHORT
    assert room.wanted(ROOMY, TIGHT - 1) == SHORT and room.wanted(SHORT, FLOOR) == SHORT
    assert room.wanted(SHORT, FLOOR - 1) == FULL and room.wanted(FULL, BACK) == SHORT
    assert room.wanted(SHORT, BACK - RESERVE) == SHORT, "what the reserve leaves is not full"
    assert len(WORDS) == 3


def test_the_room_is_that_of_the_file_system(tmp_path: Path) -> None:
    assert room.free(str(tmp_path)) > 0
