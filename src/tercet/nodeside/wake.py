"""Wakes Patroni when there is something to do (`tercet-wake.service`, database nodes).

Patroni takes a turn each loop_wait seconds. What it watches between two turns is little: a standby's the leader key,
but only while somebody holds it and a second or more is left of its wait; a primary's nothing. So these waited for a
turn:

- a standby that lost the race for the lead learns late whom to follow, and until it follows, the new primary has
  nobody who confirms its commits;
- a primary whose PostgreSQL crashed gives up the lead late.

Here the leader key is watched through the local `dcs` agent, and processes by a pidfd; on a change Patroni is
woken by a PATCH of its configuration that changes nothing (Patroni 4.0, api.py: do_PATCH_config ends in a wake-up).
With a loop_wait of one second Patroni watches nothing itself, which has a reason: in a switchover, a standby whose
turn comes while nobody holds the key sleeps for two seconds, to leave the key to the candidate (ha.py,
process_unhealthy_cluster). So a switchover wakes its candidate alone when the key is free, and the others when it is
taken; and the others once more before, when the old primary has sent its last WAL (their walreceiver ends), so that
their next turn is a loop_wait away while the key changes hands. Nothing is decided here: a needless wake-up costs
Patroni a turn. If this program is dead, suspended or waits for a silent agent, a failover takes a second longer.

Argument: a JSON file {"dcs": endpoint, "scope": "service/NAME", "node": …, "patroni": endpoint,
"pid_file": …}.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from tercet.nodeside.api import JSON, Api, ApiError
from tercet.nodeside.endpoint import Endpoint

WAIT_S = 10  # of one blocking query; the agent adds up to a sixteenth
RETRY_S = 0.5
STILL_S = 1.0
API_S = 2.0
NOTHING = {"tercet_wake": None}  # removes a setting that does not exist

Wake = Callable[[str], None]


def waker(at: Endpoint) -> Wake:
    """The function that wakes Patroni, and says why."""

    def wake(why: str) -> None:
        patroni = Api(at, headers=JSON)  # one for each call: several threads wake
        try:
            status = patroni.ask("PATCH", "/config", json.dumps(NOTHING).encode(), timeout=API_S).status
            print(f"woke Patroni: {why}" if status == 200 else f"Patroni answered {status}: {why}", flush=True)
        except ApiError as error:
            print(f"Patroni does not answer ({error}): {why}", flush=True)

    return wake


class Key:
    """One of Patroni's keys, asked of the local agent."""

    def __init__(self, dcs: Endpoint, scope: str, name: str) -> None:
        self._agent, self._path = Api(dcs), f"/v1/kv/{scope}/{name}?raw"
        self._index = 0

    def changed(self) -> str:
        """Its value, "" where there is no such key; returns after a change or WAIT_S. Raises ApiError, ValueError."""
        path = f"{self._path}&index={self._index}&wait={WAIT_S}s"
        answer = self._agent.ask("GET", path, timeout=WAIT_S + 5)
        if answer.status not in (200, 404):
            raise ApiError(f"status {answer.status}")
        index = int(answer.headers.get("X-Consul-Index", "0"))
        self._index = index if index >= self._index else 0  # an agent that lost its state counts anew
        return answer.body.decode() if answer.status == 200 else ""


class Switchover:
    """The one that is under way, as Patroni's key `failover` tells of it."""

    def __init__(self) -> None:
        self.candidate = ""  # "" if there is none, or anybody may lead

    def learn(self, value: str) -> None:
        found = json.loads(value) if value else {}
        self.candidate = str(found.get("member") or "") if isinstance(found, dict) else ""

    def to_another(self, node: str) -> bool:
        return self.candidate not in ("", node)


def watch_switchover(key: Key, switchover: Switchover) -> None:
    """For ever."""
    _watch(key, switchover.learn)


def watch_leader(key: Key, switchover: Switchover, node: str, wake: Wake) -> None:
    """For ever. Wakes when the key changes hands."""

    known: str | None = None

    def look(holder: str) -> None:
        nonlocal known
        if known not in (None, holder) and (holder or not switchover.to_another(node)):
            wake(f"{holder or 'nobody'} holds the leader key")
        known = holder

    _watch(key, look)


def _watch(key: Key, look: Callable[[str], None]) -> None:
    """`look` at each value, for ever."""
    silent = False
    while True:
        try:
            look(key.changed())
            silent = False
        except (ApiError, ValueError) as error:
            if not silent:  # said once: an agent may be gone for hours
                print(f"the dcs agent does not answer: {error}", flush=True)
            silent = True
            time.sleep(RETRY_S)


def postmaster(pid_file: str) -> int:
    """Its process id as its file has it, 0 if there is none."""
    try:
        with open(pid_file) as file:
            return int(file.readline())
    except (OSError, ValueError):
        return 0


def is_postmaster(pid: int, pid_file: str) -> bool:
    return postmaster(pid_file) == pid


def walreceiver(pid: int) -> int:
    """The process of that postmaster which receives WAL, 0 if there is none."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
        for child in children:
            with open(f"/proc/{child}/cmdline") as file:
                if "walreceiver" in file.read():
                    return int(child)
    except OSError:
        pass
    return 0


def wait_for_end(pid: int, still: Callable[[], bool] = lambda: True) -> bool:
    """Wait until that process is gone; False if there is none to begin with, or once it is `still` the one no more: the
    number in a file that a crash left behind may be another process's by now."""
    try:
        process = os.pidfd_open(pid)
    except (OSError, ValueError):
        return False
    try:
        waiting = select.poll()
        waiting.register(process, select.POLLIN)
        while still():
            if waiting.poll(STILL_S * 1000):
                return True
        return False
    finally:
        os.close(process)


def watch_postmaster(pid_file: str, wake: Wake) -> None:
    """For ever. A postmaster that stops by plan removes its file first, and nobody needs to be woken: Patroni stops it
    itself and is busy with that (woken in a switchover, it gave the key away 1.2 s later)."""
    while True:
        pid = postmaster(pid_file)
        is_it = partial(is_postmaster, pid, pid_file)
        if wait_for_end(pid, is_it) and is_it():
            wake(f"postmaster {pid} crashed")
        time.sleep(RETRY_S)  # the file of one that crashed stays until the next one starts


def watch_stream(pid_file: str, switchover: Switchover, node: str, wake: Wake) -> None:
    """For ever. Wakes the standby that a switchover does not mean, when the old primary has sent its last WAL."""
    while True:
        if wait_for_end(walreceiver(postmaster(pid_file))) and switchover.to_another(node):
            wake(f"the old primary's stream ended, {switchover.candidate} is to lead")
            while switchover.to_another(node):  # once: what ends from here on is an attempt to stream again
                time.sleep(RETRY_S)
        time.sleep(RETRY_S)


def main(config: dict[str, Any]) -> None:
    wake, dcs = waker(Endpoint(**config["patroni"])), Endpoint(**config["dcs"])
    threading.excepthook = end
    print("watching", flush=True)
    leader, failover = (Key(dcs, config["scope"], name) for name in ("leader", "failover"))
    node, pid_file, switchover = config["node"], config["pid_file"], Switchover()
    for target, args in (
        (watch_postmaster, (pid_file, wake)),
        (watch_stream, (pid_file, switchover, node, wake)),
        (watch_switchover, (failover, switchover)),
    ):
        threading.Thread(target=target, args=args, daemon=True).start()
    watch_leader(leader, switchover, node, wake)


def end(failed: threading.ExceptHookArgs) -> None:
    """With one of its threads gone, the program would go on and no longer do its work. systemd starts a whole one."""
    threading.__excepthook__(failed)
    os._exit(1)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
