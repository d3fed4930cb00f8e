"""Wakes Patroni when there is something to do (`tercet-wake.service`, database nodes).

Patroni runs a cycle every loop_wait seconds. Between two cycles it watches little: on a primary nothing, and on a
standby the leader key, but only while a node holds the key and at least a second of the wait is left. So some events
waited for the next cycle:

- a standby that lost the race for the lead learned late which node to follow, and until it followed, the new primary
  had no standby to confirm its commits;
- a primary whose PostgreSQL crashed gave up the lead late.

This program watches the leader key through the local `dcs` agent, and processes with a pidfd. On a change, it wakes
Patroni with a PATCH of its configuration that changes nothing (Patroni 4.0, api.py: do_PATCH_config ends in a wake-up).

With a loop_wait of one second, Patroni watches nothing between its cycles. This is useful in a switchover: a standby
whose cycle begins while no node holds the key sleeps for two seconds, to leave the key to the candidate (ha.py,
process_unhealthy_cluster). So during a switchover this program wakes only the candidate when the key is free, and the
others when the key is taken. It also wakes the others earlier, when the old primary has sent its last WAL (their
walreceiver ends), so that no cycle of theirs begins while the key changes hands.

A node that is far from the others is woken later when the key is free (`patience_s`). It would lose the race, and then
follow the winner 0.3 s later than a node that did not take part; and if it won, each commit would wait for a distant
standby.

A needless wake-up costs Patroni one cycle. If no wake-up comes, because this program is dead, suspended or waits for a
silent agent, a failover takes a second longer.

A thread of this program ends the sessions of other database nodes that are gone (nodeside/sessions.py).

Argument: a JSON file {"dcs": endpoint, "scope": "service/NAME", "node": …, "patroni": endpoint,
"pid_file": …, "patience_s": seconds, "peers": [names of the other database nodes]}.
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
from tercet.nodeside.keys import Key
from tercet.nodeside.processes import postmaster, walreceiver
from tercet.nodeside.sessions import watch_nodes

RETRY_S = 0.5
STILL_S = 1.0
API_S = 2.0
NOTHING = {"tercet_wake": None}  # removes a setting that does not exist

Wake = Callable[[str], None]


def waker(at: Endpoint) -> Wake:
    """The function that wakes Patroni, and says why."""

    def wake(why: str) -> None:
        patroni = Api(at, headers=JSON)  # a new one for each call, because several threads call it
        try:
            status = patroni.ask("PATCH", "/config", json.dumps(NOTHING).encode(), timeout=API_S).status
            print(f"woke Patroni: {why}" if status == 200 else f"Patroni answered {status}: {why}", flush=True)
        except ApiError as error:
            print(f"Patroni does not answer ({error}): {why}", flush=True)

    return wake


class Switchover:
    """The switchover that is under way, according to Patroni's key `failover`."""

    def __init__(self) -> None:
        self.candidate = ""  # "" if there is no switchover, or if any standby may lead

    def learn(self, value: str) -> None:
        found = json.loads(value) if value else {}
        self.candidate = str(found.get("member") or "") if isinstance(found, dict) else ""

    def to_another(self, node: str) -> bool:
        return self.candidate not in ("", node)


def watch_switchover(key: Key, switchover: Switchover) -> None:
    """Runs forever."""
    _watch(key, switchover.learn)


def watch_leader(key: Key, switchover: Switchover, node: str, patience_s: float, wake: Wake) -> None:
    """Runs forever. Wakes Patroni when the key gets another holder, or has had none for `patience_s` seconds."""

    known: str | None = None

    def look(holder: str) -> None:
        nonlocal known
        if known and not holder and switchover.candidate != node:
            holder = key.taken(patience_s)
        if known not in (None, holder) and (holder or not switchover.to_another(node)):
            wake(f"{holder or 'no node'} holds the leader key")
        known = holder

    _watch(key, look)


def _watch(key: Key, look: Callable[[str], None]) -> None:
    """Calls `look` with each new value, forever."""
    silent = False
    while True:
        try:
            look(key.changed())
            silent = False
        except (ApiError, ValueError) as error:
            if not silent:  # logged once: an agent may be gone for hours
                print(f"the dcs agent does not answer: {error}", flush=True)
            silent = True
            time.sleep(RETRY_S)


def is_postmaster(pid: int, pid_file: str) -> bool:
    return postmaster(pid_file) == pid


def wait_for_end(pid: int, still: Callable[[], bool] = lambda: True) -> bool:
    """Wait until that process is gone. False if it does not exist, or if `still` says that it is another process: the
    number in a file that a crash left behind may have been reused.
    """
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
    """Runs forever. A postmaster that stops normally removes its file first. Patroni is then not woken, because it is
    busy stopping the postmaster (when it was woken in a switchover, it released the key 1.2 s later).
    """
    while True:
        pid = postmaster(pid_file)
        is_it = partial(is_postmaster, pid, pid_file)
        if wait_for_end(pid, is_it) and is_it():
            wake(f"postmaster {pid} crashed")
        time.sleep(RETRY_S)  # the file of a crashed postmaster stays until the next one starts


def watch_stream(pid_file: str, switchover: Switchover, node: str, wake: Wake) -> None:
    """Runs forever. Wakes a standby that is not a switchover's candidate when the primary has sent its last WAL."""
    while True:
        if wait_for_end(walreceiver(postmaster(pid_file))) and switchover.to_another(node):
            wake(f"the old primary's stream ended, {switchover.candidate} is to lead")
            while switchover.to_another(node):  # once: a later walreceiver only tried to stream again
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
        (watch_nodes, (dcs, config["peers"])),
    ):
        threading.Thread(target=target, args=args, daemon=True).start()
    watch_leader(leader, switchover, node, config["patience_s"], wake)


def end(failed: threading.ExceptHookArgs) -> None:
    """End the whole program if one of its threads ended, so that systemd starts a complete one."""
    threading.__excepthook__(failed)
    os._exit(1)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
