"""Nodes as network namespaces of this machine, for programs that change the kernel of their node."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from types import TracebackType

import pytest


class Namespaces:
    """Network namespaces and what runs in them; all of it ends with the context. Skips without root or nft."""

    def __init__(self) -> None:
        if os.geteuid() != 0 or not shutil.which("nft"):
            pytest.skip("needs root and nft")
        self._processes: list[subprocess.Popen[str]] = []

    def new(self) -> int:
        """A namespace, by the process that holds it."""
        holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up; echo; exec sleep 900"],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._processes.append(holder)
        self.line(holder)
        return holder.pid

    def join(self, one: int, other: int, network: int) -> None:
        """A cable: `one` has 10.9.NETWORK.1, `other` has 10.9.NETWORK.2; at `one` it is called vNETWORK."""
        self.run(one, f"ip link add v{network} type veth peer name eth0 netns {other}")
        self.run(one, f"ip address add 10.9.{network}.1/24 dev v{network}; ip link set v{network} up")
        self.run(other, f"ip address add 10.9.{network}.2/24 dev eth0; ip link set eth0 up")

    def start(self, where: int, *argv: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """A process there, with these variables beside those of the tests."""
        process = subprocess.Popen(
            ["nsenter", f"--net=/proc/{where}/ns/net", "--", *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self._processes.append(process)
        return process

    def run(self, where: int, script: str) -> str:
        out, err = (process := self.start(where, "sh", "-c", script)).communicate(timeout=90)
        assert process.returncode == 0, err
        return out

    @staticmethod
    def line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    def __enter__(self) -> Namespaces:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.communicate()
