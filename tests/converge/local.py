"""Nodes as directories on this machine: the agent runs as it does on a node, in a process of its own.

Absolute paths of a node (/etc, /run, /opt, /usr/local) are moved below the node's directory in all that is
sent. `systemctl` is a script that writes down its calls and shows what the file `shown` says.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from pathlib import Path

from tercet.converge.fleet import Completed, Unreachable

SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$NODE/calls"
case $1 in
show) shift 4
  for unit; do
    [ "$unit" = "$1" ] || echo
    printf 'Id=%s\\n' "$unit"
    cat "$NODE/shown"
    printf 'InvocationID=%s\\n' "$(cat "$NODE/invocation" 2>/dev/null)"
  done ;;
start|restart) echo "$$" > "$NODE/invocation"; sed -i s/inactive/active/ "$NODE/shown" ;;
esac
"""
ACTIVE = "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nNeedDaemonReload=no\n"


class LocalFleet:
    """Runs programs in directories below `root`, one for each node."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root = root
        for name in names:
            home = root / name
            for folder in ("etc/systemd/system", "usr/local/bin", "bin", "run"):
                (home / folder).mkdir(parents=True)
            (home / "bin/systemctl").write_text(SYSTEMCTL)
            (home / "bin/systemctl").chmod(0o755)
            (home / "shown").write_text(ACTIVE)

    def path(self, node: str, path: str) -> Path:
        return self.root / node / path.lstrip("/")

    def calls(self, node: str) -> list[str]:
        path = self.root / node / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def _moved(self, node: str, text: str) -> str:
        return re.sub(r"(?<![\w.])/(?=(etc|run|opt|usr/local)\b)", f"{self.root / node}/", text)

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        if not (self.root / node).is_dir():
            raise Unreachable(f"{node} is not there")
        environment = {"PATH": f"{self.root / node}/bin:{os.environ['PATH']}", "NODE": str(self.root / node)}
        process = await asyncio.create_subprocess_exec(
            *(self._moved(node, word) for word in argv),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        if argv[-1] == "-":
            stdin = self._moved(node, stdin.decode()).encode()
        try:
            async with asyncio.timeout(timeout):
                out, err = await process.communicate(stdin)
        except TimeoutError:
            raise Unreachable(f"{node} was silent for {timeout:g} s") from None
        finally:
            if process.returncode is None:
                process.terminate()  # the agent ends its programs
                try:
                    await asyncio.wait_for(process.wait(), 30)
                except TimeoutError:
                    process.kill()
                    await process.wait()
        return Completed(process.returncode or 0, out, err)

    async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        raise NotImplementedError
