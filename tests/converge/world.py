"""A platform in memory and in temporary directories, on which the real agent runs, in this process.

Only systemd is simulated (systemd.py). Every path of a node lies under the node's own root, so resources are
made with `Machine.path`. `Killed` is raised before the n-th effect, as if the node had lost power there.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tercet.converge.component import Condition
from tercet.converge.fleet import Completed, Unreachable
from tercet.converge.requests import Request
from tercet.converge.resources import Resource
from tercet.inventory.platform import Node, Role
from tercet.nodeside.agent import changes, facts, main, requests, stamps

from .systemd import Systemd

EFFECTS = ("fsync", "replace", "unlink", "mkdir", "symlink", "chmod")


class Killed(BaseException):
    """The machine stopped here."""


@dataclass
class Machine:
    """One node. `objects` is the state inside its programs, by name: `get NAME` and `set NAME VALUE` reach it."""

    root: Path
    systemd: Systemd
    objects: dict[str, str] = field(default_factory=dict)
    reachable: bool = True
    calls: list[dict[str, Any]] = field(default_factory=list)

    def path(self, path: str) -> str:
        return f"{self.root}{path}"

    def reboot(self) -> None:
        shutil.rmtree(self.root / "run", ignore_errors=True)
        self.systemd.boot()


class World:
    """The nodes, and the fleet that reaches them."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.killed_at: int | None = None
        self.effects = 0
        self.log: list[tuple[str, str]] = []  # (node, what happened), in order over all nodes
        self.handlers: dict[str, Callable[[str, Sequence[str], bytes], tuple[int, str]]] = {}
        self.machines: dict[str, Machine] = {}
        self.add(root, names)

    def add(self, root: Path, names: Sequence[str]) -> None:
        for name in names:
            home = root / name
            (home / "etc/systemd/system").mkdir(parents=True)
            self.machines[name] = Machine(home, Systemd(home, self._effect))

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(Node(name, Role.APPS, "site") for name in self.machines)

    @property
    def running(self) -> frozenset[str]:
        return frozenset(self.machines)

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        await asyncio.sleep(0)
        machine = self.machines[node]
        if not machine.reachable:
            raise Unreachable(f"{node} does not answer")
        last = stdin.decode().rstrip().splitlines()[-1]
        request = ast.literal_eval(last.removeprefix("main(").removesuffix(")"))
        machine.calls.append(json.loads(json.dumps(request)))
        with self._on(node):
            said = main.handle(request)
        return Completed(0, json.dumps(said).encode(), b"")

    async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        raise NotImplementedError

    @contextlib.contextmanager
    def _on(self, node: str) -> Iterator[None]:
        machine = self.machines[node]

        def execute(argv: list[str], stdin: bytes = b"", timeout: float = 5.0) -> dict[str, Any]:
            if argv[0] == "systemctl":
                status, text = machine.systemd.call(argv[1:])
                if argv[1] != "show":
                    self.log.append((node, " ".join(argv[1:])))
            else:
                status, text = self._program(node, argv, stdin)
            return requests.answer(status, text.encode(), text if status else "")

        def ask(wanted: list[dict[str, Any]]) -> Callable[[], list[dict[str, Any]]]:
            answers = [execute(one["argv"], one["data"].encode()) for one in wanted]
            return lambda: answers

        with (
            patch.object(stamps, "STAMPS", machine.path("/run/tercet/units")),
            patch.object(changes, "UNIT_FILES", machine.path("/etc/systemd/")),
            patch.object(facts, "execute", execute),
            patch.object(changes, "execute", execute),
            patch.object(changes, "ask", ask),
            patch.object(main, "ask", ask),
            contextlib.ExitStack() as stack,
        ):
            for name in EFFECTS:
                stack.enter_context(patch.object(os, name, self._counted(getattr(os, name))))
            yield

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self._effect()
            return function(*args, **kwargs)

        return counted

    def _effect(self) -> None:
        self.effects += 1
        if self.effects == self.killed_at:
            raise Killed

    def _program(self, node: str, argv: Sequence[str], stdin: bytes) -> tuple[int, str]:
        machine = self.machines[node]
        match argv:
            case ["get", name]:
                return (0, machine.objects[name]) if name in machine.objects else (1, "no such object")
            case ["set", name, value]:
                self._effect()
                machine.objects[name] = value
                self.log.append((node, f"set {name}"))
                return 0, ""
            case [program, *_] if program in self.handlers:
                return self.handlers[program](node, argv, stdin)
        return 127, f"{argv[0]}: not found"

    def did(self, *verbs: str) -> list[str]:
        """What happened with one of these verbs, as "NODE VERB …"."""
        return [f"{node} {what}" for node, what in self.log if what.split()[0] in verbs]


@dataclass
class Part:
    """A component of a test: what it wants of each node, by node."""

    name: str
    wants: Mapping[str, Sequence[Resource]] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    asks: Mapping[str, Mapping[str, Request]] = field(default_factory=dict)
    gate: Sequence[Condition] = ()

    def desired(self, node: Node) -> Sequence[Resource]:
        return self.wants.get(node.name, ())

    def questions(self, node: Node) -> Mapping[str, Request]:
        return self.asks.get(node.name, {})

    def healthy(self) -> Sequence[Condition]:
        return self.gate
