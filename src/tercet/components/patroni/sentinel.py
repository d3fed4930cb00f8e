"""The daemons of each PostgreSQL: they enforce strict mode, are Patroni's watchdog, and give up the lead if it is full.

nodeside/strict.py, watchdog.py and room.py say what they do, and what they cannot cover.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from tercet.components import endpoints
from tercet.components.context import Context
from tercet.components.guard.component import CLIENT, SUPERVISED, active, daemon
from tercet.components.patroni import component as patroni
from tercet.components.patroni import readonly
from tercet.components.patroni.declaration import PatroniPorts, scope
from tercet.components.sandbox import Sandbox
from tercet.converge.component import Condition, Deviating, Passing, Readings, Skipped, State, Waiting
from tercet.converge.requests import Active, Exec, Http, Request
from tercet.converge.resources import Resource
from tercet.inventory.platform import Node, Platform, Role

STRICT = "tercet-strict.service"
WATCHDOG = "tercet-watchdog.service"
ROOM = "tercet-room.service"
ROOM_KEYS = "tercet/room"  # in the KV store of `dcs`, by node: how much room its database has
FULL = "/run/tercet-full"  # exists while the node's disk is full
# A standby is not asked: it refuses writes anyway, and a psql takes 0.03 s of a core.
READ_ONLY = Exec(
    (
        *("sh", "-c", f'[ -e {patroni.DATA}/standby.signal ] || exec "$@"', "sh", *patroni.AS_POSTGRES),
        *(patroni.PSQL, "-XAtq", "-c", "SHOW default_transaction_read_only"),
    )
)


@dataclass(frozen=True, slots=True)
class Sentinel:
    """After Patroni's gate, because the cluster's creation writes before any standby exists."""

    context: Context
    name: str = "sentinel"
    after: tuple[str, ...] = ("patroni-lowered",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is not Role.DB:
            return
        platform = self.context.platform
        ports = platform.settings.ports.of(PatroniPorts)
        dcs, keys = endpoints.dcs(platform)._asdict(), scope(platform)
        changing = endpoints.patroni(platform, node.name, self.context.secrets)._asdict()
        peers = [peer.name for peer in platform.of(Role.DB) if peer != node]
        yield from daemon(
            "strict",
            "Refuses writes while no standby confirms them",
            {
                "needed": platform.confirming,
                "standbys": peers,
                "port": ports.postgresql,
                "full": FULL,
                "creating": patroni.CREATING,
                "dcs": dcs,
                "scope": keys,
                "node": node.name,
            },
            modules=(*CLIENT, "host", "keys", "strict_pace", "timeline"),
            service=SUPERVISED,
            # nft; and it becomes postgres to log in.
            sandbox=Sandbox(capabilities=("CAP_NET_ADMIN", "CAP_SETUID")),
        )
        yield from daemon(
            "watchdog",
            "Patroni's watchdog: fences PostgreSQL, ends what hangs",
            {
                "node": node.name,
                "patroni": endpoints.patroni(platform, node.name)._asdict(),
                "dcs": dcs,
                "scope": keys,
                "keepalives": patroni.KEEPALIVES,
                "data": patroni.DATA,
                "socket": f"/run/postgresql/.s.PGSQL.{ports.postgresql}",
                "readonly": readonly.PROGRAM,
                "full": FULL,
                "stepped_down": patroni.STEPPED_DOWN,
                "hung_s": self.context.timing.keepalive_s,
                "fence_s": self.context.timing.fence_s,
            },
            modules=(*CLIENT, "host", "keepalives", "keys", "leadkey", "processes"),
            service=SUPERVISED,
            # The files of postgres and the working directories of its processes; signals to them.
            sandbox=Sandbox(capabilities=("CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE", "CAP_KILL")),
        )
        yield from daemon(
            "room",
            "Gives the lead to a node with room when the disk is full",
            {
                "node": node.name,
                "patroni": changing,
                "dcs": dcs,
                "keys": ROOM_KEYS,
                "reserve": f"{PurePosixPath(patroni.DATA).parent}/reserve",
                "full": FULL,
            },
            modules=CLIENT,
            secret=True,
            sandbox=Sandbox(capabilities=("CAP_DAC_OVERRIDE",)),  # the reserve is in a directory of postgres
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        if node.role is not Role.DB:
            return {}
        rooms = Http(endpoints.dcs(self.context.platform), f"/v1/kv/{ROOM_KEYS}/?recurse")
        own: dict[str, Request] = {"read_only": READ_ONLY, "watchdog": Active(WATCHDOG), "rooms": rooms}
        return {**patroni.Patroni(self.context).questions(node), **own}

    def healthy(self) -> Iterable[Condition]:
        names = [node.name for node in self.context.platform.of(Role.DB)]
        strict, watchdog, room = (tuple((name, unit) for name in names) for unit in (STRICT, WATCHDOG, ROOM))
        yield Condition("postgresql: the primary accepts writes", _writable(self.context.platform), strict)
        if not self.context.platform.confirming:
            yield Condition("postgresql: a write is on two disks", _one_disk(self.context.platform))
        yield Condition("patroni: its watchdog runs on every database node", active(names, "watchdog"), watchdog)
        yield Condition("postgresql: no disk is full", _roomy(names), room)


def read_only(readings: Readings, node: str) -> bool:
    """Whether the node refuses new writes (or does not answer)."""
    return readings.get(node, "read_only").text.strip() != "off"


def _writable(platform: Platform) -> Callable[[Readings], State]:
    databases = [node.name for node in platform.of(Role.DB)]

    def check(readings: Readings) -> State:
        primary = patroni.primary_of(readings, databases)
        if not primary:
            return Waiting("no running primary")
        if primary in readings.away:
            return Skipped(f"{primary} is primary and cannot be reached")
        if read_only(readings, primary):
            return Waiting(f"{primary} is read-only: no standby confirms writes, or its disk is full")
        return Passing(primary)

    return check


def _one_disk(platform: Platform) -> Callable[[Readings], State]:
    """With one database left, a write is acknowledged when only this database has it; see docs/recovery.md."""
    sites = " ".join(site.name for site in platform.lost_sites)

    def check(_readings: Readings) -> State:
        return Deviating(
            f"it is on one disk only, that of {platform.initial_primary.name}, until `tercet recover rejoin {sites}`"
        )

    return check


def _roomy(names: list[str]) -> Callable[[Readings], State]:
    """Judged from what the nodes report to each other in `dcs`."""

    def check(readings: Readings) -> State:
        answers = (readings.get(name, "rooms").json() for name in readings.present(names))
        keys: list[dict[str, str]] = next((answer for answer in answers if answer), [])
        words = {key["Key"].rpartition("/")[2]: b64decode(key["Value"]).decode() for key in keys}
        mute = [name for name in readings.present(names) if name not in words]
        full = [name for name in names if words.get(name) == "full"]
        if full:
            return Waiting(f"that of {', '.join(full)} is. Make room there; what follows happens by itself")
        return Waiting(f"{', '.join(mute)} did not say how much room there is") if mute else Passing()

    return check
