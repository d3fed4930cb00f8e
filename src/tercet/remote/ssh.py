"""A persistent SSH connection to a server, and commands on it.

Invariants: every command returns within its time limit, whatever the server does, and an abandoned command is also told
to end on the server. After a lost connection, the next command connects again. A connection that only refuses another
session (sshd's MaxSessions) is kept, because other commands run on it.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncssh

from tercet.converge.fleet import Completed, Unreachable, brief
from tercet.errors import TercetError
from tercet.remote.hostkeys import GivenKeys, HostKeys, Verifier
from tercet.remote.login import SshLogin

CONNECT_TIMEOUT = 15.0  # seconds, login included
KEEPALIVE_S, KEEPALIVE_COUNT = 10, 3  # a server that is silent for 40 s counts as lost
COMMANDS = 8  # sessions at a time on a connection; sshd allows 10, and `spawn` occupies some
REFUSED_PAUSE = 0.1  # seconds until a refused session is requested again; doubled up to one second
FULL = frozenset({asyncssh.OPEN_CONNECT_FAILED, asyncssh.OPEN_RESOURCE_SHORTAGE})  # sshd refuses another session
KINDS = (
    *("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("rsa-sha2-512", "rsa-sha2-256"),
)
"""The host key algorithms, the most usual one first."""
NO_KEYS: tuple[list[str], list[str], list[str]] = ([], [], [])  # trusts no key: Verifier decides


@dataclass
class SshServer:
    """A server. Connects when it is first needed. `name` is used in messages."""

    name: str
    at: SshLogin
    keys: HostKeys | GivenKeys
    _connection: asyncssh.SSHClientConnection | None = field(default=None, repr=False)
    _connecting: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(COMMANDS), repr=False)

    def command(self, argv: Sequence[str]) -> str:
        """The words as one shell command, run by root: with sudo if the login is another user."""
        return shlex.join(argv if self.at.user == "root" else ("sudo", "-n", *argv))

    async def run(self, command: str, *, stdin: bytes = b"", timeout: float) -> Completed:
        """Run a shell command. Raises Unreachable if the server is unreachable or the command takes longer than
        `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout), self._slots:
                return await self._run(command, stdin, timeout)
        except TimeoutError:
            raise Unreachable(f"{self.name}: a command did not end within {timeout:g} s: `{brief(command)}`") from None

    async def _run(self, command: str, stdin: bytes, timeout: float) -> Completed:
        process = await self._session(command, timeout)
        try:
            stdout, stderr = await process.communicate(stdin)
        except BaseException:
            process.kill()
            process.close()
            raise
        if process.exit_status is None:
            if process.exit_signal:
                return Completed(-1, _bytes(stdout), f"ended by {process.exit_signal[0]}".encode())
            raise Unreachable(f"{self.name}: the SSH connection broke during a command: `{brief(command)}`")
        return Completed(process.exit_status, _bytes(stdout), _bytes(stderr))

    async def spawn(self, command: str) -> asyncssh.SSHClientProcess[bytes]:
        """Start a command with pipes. The caller must end it."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await self._session(command, CONNECT_TIMEOUT)
        except TimeoutError:
            raise Unreachable(f"{self.name}: SSH opens no session within {CONNECT_TIMEOUT:g} s") from None

    async def _session(self, command: str, timeout: float) -> asyncssh.SSHClientProcess[bytes]:
        """Start a command. If the session is refused, request it again until `timeout`. If the connection is lost,
        connect again once.
        """
        deadline, pause, broken = time.monotonic() + timeout, REFUSED_PAUSE, False
        while True:
            connection = await self.connection()
            try:
                return await connection.create_process(command, encoding=None)
            except (asyncssh.Error, OSError) as error:
                failed = Unreachable(f"{self.name}: SSH opens no session: {error}")
                if isinstance(error, asyncssh.ChannelOpenError) and not connection.is_closed():
                    if error.code not in FULL or time.monotonic() + pause >= deadline:
                        raise failed from None
                    await asyncio.sleep(pause)
                    pause = min(1.0, pause * 2)
                    continue
                # The connection was lost while it was idle, so nothing was started on it.
                self._drop(connection)
                if broken:
                    raise failed from None
                broken = True

    def _drop(self, connection: asyncssh.SSHClientConnection) -> None:
        """Drop a lost connection, unless another command has replaced it already."""
        if self._connection is connection:
            self._connection = None
        connection.abort()

    async def connection(self) -> asyncssh.SSHClientConnection:
        """The connection. Connects again if it was lost."""
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            return self._connection

    async def close(self) -> None:
        """End the connection, and every command on it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    async def _connect(self) -> asyncssh.SSHClientConnection:
        """A new connection. A server has keys of several types, and a fingerprint does not tell the type. So if
        `ssh.host_key` is given, one type after another is requested until the server shows that key.
        """
        at = self.at
        allowed = self.keys.pinned(at.host, at.port)
        kinds = list(KINDS) if at.host_key else [alg for key in allowed for alg in _algorithms(key)]
        first: TercetError | None = None
        while True:
            verifier = Verifier(allowed, at.host_key)
            try:
                connection = await self._log_in(verifier, kinds)
                break
            except (asyncssh.Error, OSError, TimeoutError) as error:
                first = first or self._refused(error, allowed, verifier)
                shown = _algorithms(verifier.shown) if verifier.shown else []
                kinds = [kind for kind in kinds if kind not in shown]
                if not (isinstance(error, asyncssh.HostKeyNotVerifiable) and at.host_key and shown and kinds):
                    raise first from error
        if verifier.shown is not None and not allowed:
            await self.keys.pin(at.host, at.port, verifier.shown)
        return connection

    async def _log_in(self, verifier: Verifier, kinds: list[str]) -> asyncssh.SSHClientConnection:
        """Log in to the server with a host key of one of these types (none: any type)."""
        at = self.at
        options: dict[str, object] = {}
        if at.key is not None:
            options["client_keys"] = [str(at.key)]
        if kinds:
            options["server_host_key_algs"] = kinds
        async with asyncio.timeout(CONNECT_TIMEOUT):
            return await asyncssh.connect(
                at.host,
                at.port,
                username=at.user,
                known_hosts=NO_KEYS,
                client_factory=lambda: verifier,
                keepalive_interval=KEEPALIVE_S,
                keepalive_count_max=KEEPALIVE_COUNT,
                password=None,
                **options,
            )

    def _refused(self, error: Exception, allowed: list[asyncssh.SSHKey], verifier: Verifier) -> TercetError:
        """The error for a failed connection, in the operator's terms."""
        at = self.at
        where = f"{at.user}@{at.host}" + (f" port {at.port}" if at.port != 22 else "")
        if isinstance(error, asyncssh.HostKeyNotVerifiable):
            shown = verifier.shown.get_fingerprint() if verifier.shown else "none of the pinned kind"
            wanted = at.host_key or " or ".join(key.get_fingerprint() for key in allowed)
            source = "`ssh.host_key` in the inventory" if at.host_key else f"its line in {self.keys.path}"
            return TercetError(
                f"expected {self.name} ({where}) to have the SSH host key {wanted}, found {shown}. Nothing was sent\n"
                "  If the server was reinstalled, compare the key on the server itself (ssh-keygen -lf "
                f"/etc/ssh/ssh_host_ed25519_key.pub) and take out {source}; otherwise someone intercepts the connection"
            )
        if isinstance(error, asyncssh.KeyExchangeFailed) and allowed:
            return TercetError(
                f"expected {self.name} ({where}) to have the SSH host key that is pinned, found that it offers none of "
                "that kind. Nothing was sent\n  Compare its keys on the server itself and take its line out of "
                f"{self.keys.path}"
            )
        if isinstance(error, asyncssh.PermissionDenied):
            key = f"the key {at.key}" if at.key else "a key of the SSH agent or of ~/.ssh"
            return TercetError(
                f"expected {self.name} to let {where} in with {key}, found: permission denied. Put the public key into "
                f"~{at.user}/.ssh/authorized_keys there (`ssh-copy-id`), or name another at `ssh.key`"
            )
        if isinstance(error, asyncssh.KeyImportError | FileNotFoundError) and at.key is not None:
            return TercetError(
                f"expected a private key without passphrase in {at.key}, found: {error}: name it at `ssh.key`"
            )
        said = "no answer" if isinstance(error, TimeoutError) else str(error)
        return Unreachable(
            f"expected SSH to {self.name} ({where}), found: {said}. Is the server up, and can this machine reach it?"
        )


def _algorithms(key: asyncssh.SSHKey) -> list[str]:
    """The signature algorithms with which a server may prove this key."""
    return [alg.decode() for alg in key.sig_algorithms]


def _bytes(data: bytes | str | None) -> bytes:
    return data if isinstance(data, bytes) else (data or "").encode()
