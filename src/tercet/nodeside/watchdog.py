"""Fences a primary without its Patroni, and ends what hangs (`tercet-watchdog.service`, database nodes).

A container has no /dev/watchdog, so this program is Patroni's watchdog in user space. Patroni writes one byte to the
keepalive file each time it has renewed its leader key, or, in failsafe mode, each time all members have confirmed it as
the leader. Neither side can block the other, because the file is an ordinary one.

- **Fence.** A primary whose Patroni has sent no keepalive for `fence_s` (0.6 of the ttl) is killed with all its
  processes. The leader key cannot expire before the whole ttl is over. So everything that this primary acknowledged, it
  acknowledged before another node could be promoted. Then the session that holds the leader key is destroyed:
  PostgreSQL is known to be dead, so no standby needs to wait for the rest of the ttl.
- **A primary that cannot keep the lead.** If the primary's site goes up and down, the session of the leader key
  ends each time, and the standbys leave. Patroni promotes no standby as long as the primary answers now and then, so
  no write is possible (seen: 21 s, for as long as the site flapped). So a primary that lost its key is killed with its
  Patroni if another node may lead and if either `dcs` was silent when the key was lost, or this primary has refused
  writes for a second because no standby confirms them (strict.py). The file `stepped_down` makes the next Patroni wait
  until another node leads (components/patroni/may-start.sh). A primary that lost its key while its `dcs` answered all
  the time was not cut off, and takes the key again.
- **A hung Patroni.** `hung_s` without a keepalive on a primary means that Patroni's loop hangs, even if its REST API
  still answers. Patroni is killed once; systemd starts it again, and it finds its PostgreSQL running. A Patroni that
  only starts slowly is left alone until the fence. So is a Patroni whose `dcs` is silent: it cannot renew its key, and
  is about to demote itself. (When it was killed during the demotion, PostgreSQL stayed down: no reads for the rest of a
  cut.) On primary and standby, a Patroni is also killed if its REST API is silent or /liveness fails for 6 s.
- **A PostgreSQL that stays down.** While `dcs` is silent, Patroni does not start a PostgreSQL that crashed or was
  fenced. After 15 s, Patroni is killed. systemd starts it again, and before that, PostgreSQL is started as a standby
  (components/patroni/readonly.py).
- **A hung postmaster.** A postmaster that accepts a connection but sends nothing for 5 s is killed. Patroni's own old
  connections would work forever, so nothing else would notice.
- **A shutdown that waits for its sessions.** After SIGTERM, a postmaster accepts no new session and waits for the old
  ones to end. Patroni's own sessions never end, so the postmaster would stay primary without writes forever (seen).
  After 2 s it gets SIGINT, which ends them. Patroni stops PostgreSQL with SIGINT or SIGQUIT, and after these another
  SIGINT has no effect.

A silence counts only if it lasted through several polls: a program that was suspended or got no CPU has seen nothing in
the meantime and must not blame others for it. A process is signalled only if it is certainly the postmaster of this
data directory.

Not covered: this program and Patroni both suspended while PostgreSQL runs on, and `patronictl pause`, during which
Patroni switches its watchdog off ("V" as the last byte) and promises not to promote any node.

Argument: a JSON file {"node": …, "patroni": endpoint, "dcs": endpoint, "scope": "service/NAME", "keepalives": PATH,
"data": PATH, "socket": PATH, "readonly": PATH, "full": PATH, "stepped_down": PATH, "fence_s": …, "hung_s": …}. The
program `readonly` exits with 0 if PostgreSQL is down and may be started.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from tercet.nodeside.api import Api, ApiError, SilentError
from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.host import ProgramError, notify, run
from tercet.nodeside.keepalives import Keepalives
from tercet.nodeside.leadkey import LeaderKey
from tercet.nodeside.processes import running

LOOK_S = 0.25  # seconds between two polls of the keepalives
MIN_LOOKS = 8  # polls before a fence, at least: 2 s, enough for a Patroni that was suspended too to send a keepalive
# After a short cut, standbys follow the old primary again within a second of its refusal.
UNSTEADY_LOOKS = 4
ASK_S = 1.0  # between two questions, and the time for an answer
PATRONI_SILENT_S = 6.0
POSTMASTER_SILENT_S = 5.0
# Between its demotion and its start as a standby, PostgreSQL is down for about 0.5 s, and for more than 5 s on a
# machine without free CPU. With 3 s here, a Patroni was killed that was about to start PostgreSQL (seen, at a load of
# 25 on two cores).
DOWN_S = 15.0
MIN_ASKED = 3
# Polls are up to about 4 s apart. A longer interval means that this program or the whole node was paused. All time
# limits then start again: a Patroni whose node was frozen for 40 s answers 503 until its first cycle is over.
PAUSE_S = 6.0
SHUTDOWN_S = 2.0  # an orderly shutdown takes 0.06 s, and more if there is much to flush
SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # the shortest question a postmaster's child answers, with one byte


class Silence:
    """How long something has been silent, in seconds and in polls: `lasted` needs both.

    Seconds alone would count this program's own pauses; polls alone would take too long on a machine without free CPU.
    """

    def __init__(self, min_looks: int) -> None:
        self._min_looks = min_looks
        self.heard()

    def heard(self) -> None:
        self._since, self._looks = time.monotonic(), 0

    def missed(self) -> None:
        self._looks += 1

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._since

    def lasted(self, limit: float) -> bool:
        return self._looks >= self._min_looks and self.seconds >= limit


class Postmaster:
    """The postmaster of one data directory."""

    def __init__(self, data: str) -> None:
        self._data = data

    def pid(self) -> int:
        """Its process id; 0 if none runs."""
        return running(self._data)

    def stopping(self) -> int:
        """Its process id if the eighth line of postmaster.pid says that it is shutting down; otherwise 0."""
        try:
            with open(f"{self._data}/postmaster.pid") as file:
                state = file.read().splitlines()[7:8]
        except OSError:
            return 0
        return self.pid() if state and state[0].strip() == "stopping" else 0

    def is_primary(self) -> bool:
        """Whether it runs, and not as a standby. Patroni's standbys always have standby.signal."""
        return self.pid() > 0 and not os.path.exists(f"{self._data}/standby.signal")

    def refuses_writes(self) -> bool:
        """Whether tercet-strict made it read-only."""
        try:
            with open(f"{self._data}/postgresql.auto.conf") as file:
                return any(line.startswith("default_transaction_read_only = 'on'") for line in file)
        except OSError:
            return False

    def kill(self) -> None:
        """Kill it with all its processes at once, like a power cut: a busy backend does not notice that its postmaster
        is gone.
        """
        pid = self.pid()
        if pid == 0:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)  # so that it starts no more processes
            with open(f"/proc/{pid}/task/{pid}/children") as file:
                children = [int(child) for child in file.read().split()]
            for child in (*children, pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)


class Fence:
    """Watches the keepalives while this node is the primary."""

    def __init__(
        self, postmaster: Postmaster, keepalives: Keepalives, dcs: LeaderKey, hung_s: float, fence_s: float
    ) -> None:
        self._postmaster, self._keepalives, self._dcs = postmaster, keepalives, dcs
        self._hung_s, self._fence_s = hung_s, fence_s
        self._silence = Silence(MIN_LOOKS)
        self._hung = Silence(MIN_LOOKS)  # the part of the silence during which `dcs` answered
        self._ended = False  # Patroni was killed in this silence

    def poll(self, end_patroni: Callable[[str], None], give_up: Callable[[], None]) -> None:
        self._keepalives.settle()
        came = self._keepalives.came()
        if came or not self._postmaster.is_primary() or self._keepalives.disarmed():
            self._silence.heard()
            self._hung.heard()
            self._ended = False
            return
        self._silence.missed()
        if self._dcs.answers:
            self._hung.missed()
        else:
            self._hung.heard()
        if self._silence.lasted(self._fence_s):
            print(f"PostgreSQL is fenced: Patroni has renewed nothing for {self._silence.seconds:.1f} s", flush=True)
            self._postmaster.kill()
            self._silence.heard()
            give_up()
        elif self._hung.lasted(self._hung_s) and self._keepalives.begun() and not self._ended:
            end_patroni(f"its loop has renewed nothing for {self._hung.seconds:.1f} s")
            self._ended = True


class Unsteady:
    """Finds a primary that should let another node lead."""

    def __init__(self, postmaster: Postmaster, keepalives: Keepalives, key: LeaderKey, full: str) -> None:
        self._postmaster, self._keepalives, self._key, self._full = postmaster, keepalives, key, full
        self._refusing = 0  # polls in a row
        self._wrote = False  # a new primary refuses writes until its timeline is recorded; that is no reason

    def poll(self, step_down: Callable[[], None]) -> None:
        if not self._postmaster.is_primary() or self._keepalives.disarmed():
            self._key.forget()
            self._refusing, self._wrote = 0, False
            return
        refuses = self._postmaster.refuses_writes()
        self._wrote = self._wrote or not refuses
        alone = self._wrote and refuses and self._key.lost_lately() and not os.path.exists(self._full)
        self._refusing = self._refusing + 1 if alone else 0
        if (self._key.cut_off or self._refusing >= UNSTEADY_LOOKS) and self._key.successor:
            self._key.forget()
            step_down()


class Watch:
    """Calls `end` if `ask` gets no answer for `limit` seconds."""

    def __init__(self, name: str, limit: float, ask: Callable[[], bool], end: Callable[[str], None]) -> None:
        self._name, self._limit, self._ask, self._end = name, limit, ask, end
        self._silence = Silence(MIN_ASKED)
        self._looked = time.monotonic()

    def poll(self) -> None:
        before, self._looked = self._looked, time.monotonic()
        if self._looked - before > PAUSE_S:
            self._silence.heard()
        if self._ask():
            self._silence.heard()
            return
        self._silence.missed()
        if self._silence.lasted(self._limit):
            self._end(f"{self._name} has not answered for {self._silence.seconds:.1f} s")
            self._silence.heard()  # the next process gets the full time


class Shutdown:
    """Hurries a shutdown that waits for sessions."""

    def __init__(self, postmaster: Postmaster) -> None:
        self._postmaster = postmaster
        self._silence = Silence(MIN_ASKED)

    def poll(self) -> None:
        pid = self._postmaster.stopping()
        if pid == 0:
            self._silence.heard()
            return
        self._silence.missed()
        if self._silence.lasted(SHUTDOWN_S):
            print(f"the postmaster shuts down for {self._silence.seconds:.1f} s: told to end its sessions", flush=True)
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.kill(pid, signal.SIGINT)
            self._silence.heard()


def is_left_down(dcs: LeaderKey, postmaster: Postmaster, readonly: str) -> bool:
    """Whether PostgreSQL is down and could be started, but a running Patroni does not start it: `dcs` is silent."""
    if dcs.answers or postmaster.pid() > 0:
        return False
    try:
        run([readonly])
        return run(["systemctl", "show", "--property=MainPID", "--value", "patroni.service"]).strip() != "0"
    except ProgramError:
        return False


def patroni_is_well(at: Endpoint, timeout: float) -> bool:
    """Whether /liveness answers 200, or nothing listens. systemd takes care of a Patroni that is down.

    Patroni answers 503 if its loop has not run for a ttl (on a standby: two).
    """
    try:
        return Api(at).ask("GET", "/liveness", timeout=timeout).status == 200
    except SilentError:
        return False
    except ApiError:
        return True


def postmaster_answers(path: str, timeout: float) -> bool:
    """Whether it accepts and forks a child that answers. A socket that refuses or is missing counts as an answer."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(SSL_REQUEST)
            return connection.recv(1) != b""
    except TimeoutError:
        return False
    except OSError:
        return True


def end_patroni(why: str) -> None:
    """Kill its main process, if there is one; systemd starts it again."""
    try:
        run(["systemctl", "kill", "--kill-whom=main", "--signal=KILL", "patroni.service"])
    except ProgramError as error:
        print(f"patroni cannot be killed: {error}", flush=True)
    else:
        print(f"patroni is killed: {why}", flush=True)


def step_down(postmaster: Postmaster, key: LeaderKey, mark: str) -> None:
    """Let another node lead. The mark comes first, because systemd starts the killed Patroni at once."""
    print("PostgreSQL is fenced: it cannot keep the leader key", flush=True)
    try:
        open(mark, "w").close()
    except OSError as error:
        print(f"Patroni will not wait for another leader: {error}", flush=True)
    end_patroni("another node is to lead")
    postmaster.kill()
    key.give_up()


def ask_for_ever(watches: tuple[Watch | Shutdown, ...]) -> None:
    while True:
        for watch in watches:
            watch.poll()
        time.sleep(ASK_S)


def main(config: dict[str, Any]) -> None:
    postmaster = Postmaster(config["data"])
    agent, rest = Endpoint(**config["dcs"]), Endpoint(**config["patroni"])
    key, keepalives = LeaderKey(agent, config["scope"], config["node"]), Keepalives(config["keepalives"])
    fence = Fence(postmaster, keepalives, key, config["hung_s"], config["fence_s"])
    unsteady = Unsteady(postmaster, keepalives, key, config["full"])

    def end_postmaster(why: str) -> None:
        print(f"the postmaster is killed: {why}", flush=True)
        postmaster.kill()

    watches = (
        Watch("patroni", PATRONI_SILENT_S, lambda: patroni_is_well(rest, ASK_S), end_patroni),
        Watch(
            "the postmaster", POSTMASTER_SILENT_S, lambda: postmaster_answers(config["socket"], ASK_S), end_postmaster
        ),
        Watch(
            "PostgreSQL is down and dcs",
            DOWN_S,
            lambda: not is_left_down(key, postmaster, config["readonly"]),
            end_patroni,
        ),
        Shutdown(postmaster),
    )
    # Questions may block until they are answered; the fence must not wait for that.
    threading.Thread(target=ask_for_ever, args=(watches,), daemon=True).start()
    threading.Thread(target=key.ask_for_ever, daemon=True).start()
    print("watching", flush=True)
    notify("READY=1")
    while True:
        fence.poll(end_patroni, key.give_up)
        unsteady.poll(lambda: step_down(postmaster, key, config["stepped_down"]))
        notify("WATCHDOG=1")
        time.sleep(LOOK_S)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
