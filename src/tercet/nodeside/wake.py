"""Wakes Patroni when there is something to do (`tercet-wake.service`, database nodes).

Patroni takes a turn each loop_wait seconds. What it watches between two turns is little: a standby's the leader key,
but only while somebody holds it and a second or more is left of its wait; a primary's nothing. So these waited for a
turn:

- a standby that lost the race for the lead learns late whom to follow, and until it follows, the new primary has
  nobody who confirms its commits;
- a primary whose PostgreSQL crashed gives up the lead late.

Here the leader key is watched through the local `dcs` agent, and the postmaster by a pidfd; on a change Patroni is
woken by a PATCH of its configuration that changes nothing (Patroni 4.0, api.py: do_PATCH_config ends in a wake-up).
With a loop_wait of one second Patroni watches nothing itself, which has a reason: in a switchover, a standby that
wakes while nobody holds the key sleeps for two seconds, to leave the key to the candidate (ha.py,
process_unhealthy_cluster). So a switchover wakes its candidate alone when the key is free, and the others when it is
taken. Nothing is decided here. If this program is dead, a failover takes a second longer.

Argument: a JSON file {"dcs_port": …, "scope": "service/NAME", "node": …, "api": [host, port], "user": …,
"password": …, "pid_file": …}.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

WAIT_S = 10  # of one blocking query; the agent adds up to a sixteenth
RETRY_S = 0.5
API_S = 2.0
NOTHING = {"tercet_wake": None}  # removes a setting that does not exist

Wake = Callable[[str], None]


def waker(api: tuple[str, int], user: str, password: str) -> Wake:
    """The function that wakes Patroni, and says why."""
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}

    def wake(why: str) -> None:
        connection = http.client.HTTPConnection(*api, timeout=API_S)
        try:
            connection.request("PATCH", "/config", json.dumps(NOTHING), headers)
            status = connection.getresponse().status
            print(f"woke Patroni: {why}" if status == 200 else f"Patroni answered {status}: {why}", flush=True)
        except (OSError, http.client.HTTPException) as error:
            print(f"Patroni does not answer ({error}): {why}", flush=True)
        finally:
            connection.close()

    return wake


class Key:
    """The leader key, asked of the local agent; each question waits until it changes."""

    def __init__(self, port: int, scope: str) -> None:
        self._port, self._scope = port, scope
        self._index = 0

    def candidate(self) -> str:
        """Whom a switchover that is under way wants to lead; "" if there is none, or anybody may."""
        status, body, _ = self._get("failover?raw")
        return str(json.loads(body).get("member") or "") if status == 200 and body else ""

    def holder(self) -> str:
        """Who holds it, "" for nobody; returns after a change, or WAIT_S. Raises OSError, HTTPException."""
        status, body, index = self._get(f"leader?raw&index={self._index}&wait={WAIT_S}s")
        if status not in (200, 404):
            raise http.client.HTTPException(f"status {status}")
        self._index = index if index >= self._index else 0  # an agent that lost its state counts anew
        return body if status == 200 else ""

    def _get(self, what: str) -> tuple[int, str, int]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=WAIT_S + 5)
        try:
            connection.request("GET", f"/v1/kv/{self._scope}/{what}")
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), int(answer.headers.get("X-Consul-Index", "0"))
        finally:
            connection.close()


def watch_key(key: Key, node: str, wake: Wake) -> None:
    """For ever."""
    known: str | None = None
    silent = False
    while True:
        try:
            holder = key.holder()
            candidate = "" if holder else key.candidate()
        except (OSError, ValueError, http.client.HTTPException) as error:
            if not silent:  # said once: an agent may be gone for hours
                print(f"the dcs agent does not answer: {error}", flush=True)
            silent = True
            time.sleep(RETRY_S)
            continue
        silent = False
        if known not in (None, holder) and candidate in ("", node):
            wake(f"{holder or 'nobody'} holds the leader key")
        known = holder


def postmaster(pid_file: str) -> int:
    """Its process id as its file has it, 0 if there is none."""
    try:
        with open(pid_file) as file:
            return int(file.readline())
    except (OSError, ValueError):
        return 0


def watch_postmaster(pid_file: str, wake: Wake) -> None:
    """For ever. A postmaster that stops by plan removes its file first, and nobody needs to be woken: Patroni stops it
    itself and is busy with that (woken in a switchover, it gave the key away 1.2 s later)."""
    while True:
        pid = postmaster(pid_file)
        try:
            process = os.pidfd_open(pid)
        except (OSError, ValueError):
            time.sleep(RETRY_S)
            continue
        waiting = select.poll()
        waiting.register(process, select.POLLIN)
        waiting.poll()
        os.close(process)
        if postmaster(pid_file) == pid:
            wake(f"postmaster {pid} crashed")
        time.sleep(RETRY_S)  # the file of one that crashed stays until the next one starts


def main(config: dict[str, Any]) -> None:
    host, port = config["api"]
    wake = waker((host, port), config["user"], config["password"])
    print("watching", flush=True)
    threading.Thread(target=watch_postmaster, args=(config["pid_file"], wake), daemon=True).start()
    watch_key(Key(config["dcs_port"], config["scope"]), config["node"], wake)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
