"""An opened platform: its inventory, its components, its provider, and the connections to servers and nodes.

    async with open_session(file) as session:
        print(await session.snapshot())

Opening only reads files: it builds, creates and asks nothing, and a connection is made when it is first needed.
Read-only commands need no image and no secrets file; operations/change.py makes both. A plan uses a placeholder for a
secret that does not exist yet.

Invariants
- However the block ends, every connection that was made in it is closed.
- A session can stay open for hours. It never returns old information about the platform, and it reopens lost
  connections. The inventory is read only when the session is opened; for a changed inventory, open another session.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tercet.components.context import Context
from tercet.components.patroni import component as patroni
from tercet.components.registry import components
from tercet.converge.component import Component, Condition, Waiting
from tercet.converge.fleet import Fleet
from tercet.converge.gates import wait_for
from tercet.errors import TercetError
from tercet.image.build import Image, find_image
from tercet.image.elf import host_arch
from tercet.image.lock import read_lock
from tercet.image.proxy import resolved
from tercet.inventory.load import load
from tercet.inventory.platform import Platform
from tercet.inventory.secrets import Secrets, peek
from tercet.inventory.timing import timing_of
from tercet.observe.snapshot import Snapshot, conditions_of, questions, take_snapshot
from tercet.providers.base import Provider, open_provider
from tercet.session.files import known_hosts_file, lock_file, secrets_file

SQL_S = 20.0


class SqlError(TercetError):
    """PostgreSQL refused a statement. The message is the last line of psql's output."""


@asynccontextmanager
async def open_session(file: Path, *, provider: str = "") -> AsyncIterator[Session]:
    """Open the platform of an inventory for a block. Raises TercetError with the file and line of each problem.

    If `provider` is given, it replaces the inventory's.
    """
    platform = load(file, provider=provider)
    async with AsyncExitStack() as closing:
        providers = Providers(file, closing)
        yield _session(file, platform, find_image(platform.settings, lock_file(file)), providers)


@dataclass(frozen=True)
class Session:
    """An opened platform, or a part of it.

    Methods that return a Session give another view of the same opened platform: the inventory is not read again, and
    `open_session` closes the connections of all views. The same view has the same connections each time.
    """

    file: Path
    platform: Platform
    provider: Provider
    context: Context
    components: tuple[Component, ...]
    image: Image | None
    providers: Providers = field(repr=False)

    @property
    def lock_file(self) -> Path:
        return lock_file(self.file)

    @property
    def secrets_file(self) -> Path:
        return secrets_file(self.file)

    async def snapshot(self) -> Snapshot:
        """Ask every node once, and return the present state of the platform."""
        return await take_snapshot(self.context, self.components, self.provider)

    async def healthy(
        self,
        deadline: float,
        fleet: Fleet | None = None,
        waiting: Callable[[Condition, Waiting], None] = lambda _condition, _state: None,
    ) -> str:
        """Wait until every condition of every component holds, all in one poll. Returns "", or what does not hold.

        `fleet`, if given, is a cheaper way to reach the same nodes. `waiting` is called with conditions that do not
        hold yet.
        """
        asked = questions(self.components, self.platform.containers)
        ends = time.monotonic() + deadline
        looks = 0

        def looked() -> bool:
            nonlocal looks
            looks += 1
            return True

        while looks != 1:  # a condition that held in one poll may not hold any more when the last one does
            looks = 0
            judged = await wait_for(
                conditions_of(self.components),
                asked,
                fleet or self.provider,
                deadline=ends - time.monotonic(),
                interval=0.5,
                go_on=looked,
                waiting=waiting,
            )
            wrong = [f"{condition.title}: {state.reason}" for condition, state in judged if isinstance(state, Waiting)]
            if wrong:
                return "; ".join(wrong)
        return ""

    async def sql(self, node: str, statement: str) -> list[list[str]]:
        """Run the statement as superuser over the node's own socket and return the rows. Raises SqlError,
        Unreachable.
        """
        argv = (*patroni.AS_POSTGRES, patroni.PSQL, "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1")
        where = ("-d", self.platform.settings.postgresql.database, "-f", "-")
        done = await self.provider.run(node, (*argv, *where), stdin=statement.encode(), timeout=SQL_S)
        if done.status:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise SqlError(f"SQL on {node}: {said[-1] if said else f'psql left with {done.status}'}")
        return [line.split("\t") for line in done.stdout.decode().splitlines()]

    def losing(self, *sites: str) -> Session:
        """A view with exactly these sites lost. Without names, it is the whole platform."""
        return _session(self.file, self.platform.losing(*sites), self.image, self.providers)

    def named(self, name: str) -> Session:
        """A view with another name of the platform."""
        settings = self.platform.settings.model_copy(update={"platform": name})
        platform = replace(self.platform, name=name, settings=settings)
        return _session(self.file, platform, self.image, self.providers)

    def with_image(self, image: Image) -> Session:
        """A view with an image that was made after the session was opened."""
        return self if image == self.image else _session(self.file, self.platform, image, self.providers)

    def with_secrets(self, secrets: Secrets) -> Session:
        """A view with secrets that were made after the session was opened."""
        if secrets == self.context.secrets:
            return self
        context = replace(self.context, secrets=secrets)
        return replace(self, context=context, components=components(context))

    def only(self, names: Collection[str]) -> Session:
        """A view with only the named components. Missing ones are ignored: a real tailnet has no headscale."""
        return replace(self, components=tuple(each for each in self.components if each.name in names))


def _session(file: Path, platform: Platform, image: Image | None, providers: Providers) -> Session:
    chosen = resolved(platform.settings, read_lock(lock_file(file)), host_arch())
    context = Context(
        platform=platform,
        secrets=peek(secrets_file(file)),
        timing=timing_of(platform.settings),
        programs=image.programs if image else (),
        proxy=chosen[0] if chosen else "pgpool",  # a placeholder, because a plan needs a value
        secrets_from=f"{getpass.getuser()}@{socket.gethostname()}:{secrets_file(file).absolute()}",
        proxy_reason=chosen[1] if chosen else None,
    )
    provider = providers.of(platform, image)
    return Session(file, platform, provider, context, components(context), image, providers)


class Providers:
    """The providers of an opened platform and of its views, each made once and closed with the platform.

    A provider is made for one platform and one image, so a view with another platform or image has its own provider.
    """

    def __init__(self, file: Path, closing: AsyncExitStack) -> None:
        self._file = file
        self._closing = closing
        self._made: dict[tuple[str, ...], Provider] = {}

    def of(self, platform: Platform, image: Image | None) -> Provider:
        """The provider of this view."""
        view = (platform.name, image.key if image else "", *(site.name for site in platform.lost_sites))
        if view not in self._made:
            self._made[view] = made = open_provider(platform, image, known_hosts_file(self._file))
            self._closing.push_async_callback(made.close)
        return self._made[view]


def operator(action: str) -> str:
    """The lock's holder, shown to others who must wait: user, host, process and what the holder does."""
    return f"{getpass.getuser()}@{socket.gethostname()} (process {os.getpid()}): {action}"
