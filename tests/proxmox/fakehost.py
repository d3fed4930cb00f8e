"""A Proxmox server on loopback: the API of `fakepve`, and real SSH to a shim that understands what servers run.

It lives on an event loop in a thread of its own, as another machine would. `Pretend` stands for its containers in
tests of the provider alone; tests/lab/pvefarm.py puts real ones behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shlex
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import asyncssh
from fakepve.certs import make_cert
from fakepve.model import TaskError
from fakepve.server import FakePve

from tercet.remote.limits import FENCE
from tests.proxmox.relay import Relay

T = TypeVar("T")
TOKEN = "tercet@pve!up"
SECRET = "token-secret-that-nobody-may-see"
PASSWORD = "password-that-nobody-may-see"
MAX_SESSIONS = 10

# What docs/production.md tells an operator to grant, and nothing more.
GRANTS = {
    "/vms": "VM.Allocate VM.Audit VM.PowerMgmt VM.Config.CPU VM.Config.Disk VM.Config.Memory VM.Config.Network "
    "VM.Config.Options",
    "/storage/local": "Datastore.Audit Datastore.AllocateTemplate",
    "/storage/local-lvm": "Datastore.Audit Datastore.AllocateSpace",
    "/sdn/zones/localnetwork/vmbr0": "SDN.Use",
    "/nodes": "Sys.Audit",
}


class Containers(Protocol):
    """What is behind the API: made to match it after every task, and reached by commands."""

    async def match(self, pve: FakePve) -> None:
        """Make the containers what the API says they are. Raises TaskError."""
        ...

    def keep(self, storage: str, name: str, data: bytes) -> None:
        """A file was uploaded to a storage."""
        ...

    def lives(self, vmid: int) -> bool:
        """A container that the API takes for running really does."""
        ...

    async def command(self, host: FakeHost, command: str) -> asyncio.subprocess.Process:
        """Start a command as the server would."""
        ...


class Pve(FakePve):
    """The API, with containers that follow it."""

    containers: Containers
    first_vmid = 100
    hurry = False  # end the pauses of everything that goes on

    async def pause(self, secs: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + secs * self.time_scale
        while not self.hurry and loop.time() < end:
            await asyncio.sleep(0.02)

    silent = False  # what exists is asked in vain
    asked = 0

    async def _resources(self, request: Any) -> Any:
        self.asked += 1
        while self.silent:
            await asyncio.sleep(0.05)
        return await super()._resources(request)

    async def _nextid(self, v: Any, user: str) -> str:
        """From another number on each server, as on servers that have other guests too."""
        taken = {guest.vmid for guest in (*self.vms, *self.cts)}
        return str(next(vmid for vmid in range(self.first_vmid, 10**6) if vmid not in taken))

    def _status(self, ct: Any) -> Any:
        """A container that died behind the API's back is stopped, as Proxmox sees it at once."""
        if ct.status == "running" and not self.containers.lives(ct.vmid):
            ct.status = "stopped"
        return super()._status(ct)

    async def task(self, node: str, ttype: str, tid: Any, user: str, body: Any, **options: Any) -> str:
        async def both() -> Any:
            note = await body()
            await self.containers.match(self)
            return note

        return str(await super().task(node, ttype, tid, user, both, **options))

    def store_file(self, storage: str, name: str, size: int, content: str = "iso") -> None:
        """As Proxmox does, compare the upload with the checksum that came with it, and keep the file."""
        fields = self.uploaded or {}
        found = hashlib.sha256(fields.get("data", b"")).hexdigest()
        if (expected := fields.get("checksum")) and expected != found:
            raise TaskError(f"checksum mismatch: got '{found}' != expect '{expected}'")
        super().store_file(storage, name, size, content)
        self.containers.keep(storage, name, fields.pop("data", b""))


class Sshd(asyncssh.SSHServer):
    """Refuses a session where MAX_SESSIONS are open, as sshd does on one connection."""

    def __init__(self, host: FakeHost) -> None:
        self._host, self._open = host, 0

    def session_requested(self) -> asyncssh.SSHServerSession[bytes] | bool:
        if self._open >= MAX_SESSIONS:
            return False
        self._open += 1
        return asyncssh.SSHServerProcess(self._session, None, 0, False)

    async def _session(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        try:
            await self._host.session(process)
        finally:
            self._open -= 1


class FakeHost:
    """One server. `node` is its name in Proxmox; it listens at `address`, on free ports if they are 0."""

    def __init__(
        self,
        folder: Path,
        node: str,
        containers: Containers,
        *,
        address: str = "127.0.0.1",
        ports: tuple[int, int] = (0, 0),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.node = folder, node
        self.pve = Pve(user="root@pam", password=PASSWORD, host="127.0.0.1", port=0)
        self.pve.containers = containers
        self.pve.nodes = {node: {"online": True}}
        self.pve.cluster_name = node
        self.pve.client_max_size = 1 << 30
        self.pve.apitokens[TOKEN] = SECRET
        for path, privileges in GRANTS.items():
            self.pve.grant(TOKEN, path, *privileges.split())
        self.containers = containers
        self.commands: list[str] = []
        self.api_way, self.ssh_way = Relay(0, address, ports[0]), Relay(0, address, ports[1])
        self.ssh_key = asyncssh.generate_private_key("ssh-ed25519")
        self.other_keys: list[asyncssh.SSHKey] = []
        self.client_key = asyncssh.generate_private_key("ssh-ed25519")
        self.client_key_file = folder / "id_ed25519"
        self.client_key.write_private_key(self.client_key_file)
        self.client_key_file.chmod(0o600)
        certificate, self._key, der = make_cert(str(folder), hosts=("127.0.0.1", address))
        self.certificate = Path(certificate)
        self.fingerprint = hashlib.sha256(der).digest().hex(":").upper()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=node, daemon=True)
        self._ssh: asyncssh.SSHAcceptor | None = None

    def __enter__(self) -> FakeHost:
        self._thread.start()
        self.call(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        if not self._thread.is_alive():
            self._loop.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the server's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _start(self) -> None:
        await self.pve.start(str(self.certificate), self._key)
        self.api_way.target = self.pve.port
        await self.api_way.start()
        await self.listen_ssh()
        await self.ssh_way.start()

    async def _stop(self) -> None:
        self.pve.silent, self.pve.hurry = False, True  # a test that broke off left it waiting
        await self.vanish()
        if self._ssh is not None:
            self._ssh.close()
        await self.pve.stop()
        if going_on := asyncio.all_tasks() - {asyncio.current_task()}:  # what nobody will see the end of
            for task in going_on:
                task.cancel()
            await asyncio.wait(going_on, timeout=10)

    async def vanish(self) -> None:
        """From now on nobody reaches the server; what it has begun goes on."""
        await self.api_way.cut()
        await self.ssh_way.cut()

    async def come_back(self) -> None:
        await self.api_way.start()
        await self.ssh_way.start()

    async def listen_ssh(self) -> None:
        """Serve SSH with the present `ssh_key`, behind the same address as before."""
        if self._ssh is not None:
            self._ssh.close()
        self._ssh = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[self.ssh_key, *self.other_keys],
            authorized_client_keys=asyncssh.import_authorized_keys(self.client_key.export_public_key().decode()),
            server_factory=lambda: Sshd(self),
            encoding=None,
            line_editor=False,
        )
        self.ssh_way.target = self._ssh.get_port()

    async def session(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Like sshd: pipes to a shell; when the channel closes, the pipes are closed and nothing is killed."""
        command = process.command or ""
        self.commands.append(command)
        local = await self.containers.command(self, command)
        outputs = [
            asyncio.ensure_future(_pump(local.stdout, process.stdout)),
            asyncio.ensure_future(_pump(local.stderr, process.stderr)),
        ]
        feeding = asyncio.ensure_future(_feed(process.stdin, local.stdin))
        closed = asyncio.ensure_future(process.wait_closed())
        done = asyncio.gather(local.wait(), *outputs)
        await asyncio.wait((closed, done), return_when=asyncio.FIRST_COMPLETED)
        if not closed.done():
            code = local.returncode or 0
            process.exit(code if code >= 0 else 128 - code)
        feeding.cancel()
        for pipe in (local._transport.get_pipe_transport(n) for n in range(3)):  # type: ignore[attr-defined]
            if pipe is not None:
                pipe.close()
        await done

    def site(self) -> dict[str, Any]:
        """The `proxmox` section of a site on this server."""
        ssh = {"port": self.ssh_way.port, "key": str(self.client_key_file)}
        return {
            "api": f"https://{self.api_way.address}:{self.api_way.port}",
            "fingerprint": self.fingerprint,
            "ssh": ssh,
        }


Answerer = Callable[[int, Sequence[str]], Sequence[str] | None]


class Pretend:
    """Containers that are not there: programs "in" them run on this machine, unless `answer` says otherwise."""

    def __init__(self) -> None:
        self.answer: Answerer = lambda _vmid, _argv: None
        self.files: dict[str, bytes] = {}
        self.programs = {
            "pct": "exit 0",
            "dpkg-query": "echo 6.0.18",
            "curl": "exit 0",
            "modprobe": "exit 0",
            "stat": "echo cgroup2fs",
            "ping": "echo 'rtt min/avg/max/mdev = 0.5/1.2/2.0/0.1 ms'",
        }

    async def match(self, pve: FakePve) -> None:
        """Nothing is there to be changed."""

    def keep(self, storage: str, name: str, data: bytes) -> None:
        self.files[f"{storage}/{name}"] = data

    def lives(self, vmid: int) -> bool:
        return True

    async def command(self, host: FakeHost, command: str) -> asyncio.subprocess.Process:
        words = shlex.split(command)
        match words:
            case ["pct", "exec", vmid, "--", *argv]:
                running = (ct := host.pve.ct(int(vmid))) is not None and ct.status == "running"
                if not running:
                    return await _say(f"container '{vmid}' not running!", 255)
                ready = any("system_bus_socket" in word for word in argv)
                # Each container has a fence of its own, and this machine none.
                own = {word: f"{host.folder}/fence-{vmid}{word}" for word in FENCE}
                argv = [own.get(word, word) for word in argv]
                return await _start(self.answer(int(vmid), argv) or (("true",) if ready else argv))
            case ["pct", "set", vmid, *pairs]:
                ct = host.pve.ct(int(vmid))
                ct.config |= {key.removeprefix("-"): value for key, value in zip(pairs[::2], pairs[1::2], strict=True)}
                return await _start(["true"])
            case ["sh", "-c", script, volume] if "sha256sum" in script:
                storage, _, name = volume.partition(":vztmpl/")
                data = self.files.get(f"{storage}/{name}", b"")
                return await _start(["echo", f"{hashlib.sha256(data).hexdigest()}  {name}"])
        locks, programs = host.folder / "lock", host.folder / "bin"
        locks.mkdir(exist_ok=True)
        programs.mkdir(exist_ok=True)
        for name, script in self.programs.items():
            whole = programs / f".{name}"  # another command may run the program just now
            whole.write_text(f"#!/bin/sh\n{script}\n")
            whole.chmod(0o755)
            whole.replace(programs / name)
        path = f"PATH={programs}:{os.environ['PATH']}"
        return await _start(["env", path, "sh", "-c", own_folder(command, locks)])


def own_folder(command: str, folder: Path) -> str:
    """The same command with the lock's files in `folder`: all servers of a test are on one machine."""
    return command.replace("/run/lock/", f"{folder}/").replace("/var/lib/tercet/terms", f"{folder}/terms")


async def _pump(source: asyncio.StreamReader | None, sink: asyncssh.SSHWriter[bytes]) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        while source is not None and (data := await source.read(65536)):
            sink.write(data)
            await sink.drain()


async def _feed(source: asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter | None) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        while sink is not None and (data := await source.read(65536)):
            sink.write(data)
            await sink.drain()
    if sink is not None:
        sink.close()


async def _start(argv: Sequence[str]) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe)


async def _say(text: str, status: int) -> asyncio.subprocess.Process:
    return await _start(["sh", "-c", 'echo "$0" >&2; exit "$1"', text, str(status)])
