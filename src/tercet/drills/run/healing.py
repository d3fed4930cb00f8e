"""Makes faults and always heals them: at the end, on an error, on Ctrl-C, and by a timer if the tool is killed.

Invariants
- The mechanism that ends a fault without the tool is in place before the fault is made: a systemd timer on the node for
  a fault on a node, the provider's time limit for a fault from outside. So a killed tool leaves no fault for longer
  than the fault's time plus GRACE_S.
- A fault is stored before any of its actions is carried out, and every stored fault is healed, in reverse order, even
  if the healing or the record of another one failed, or the operator pressed Ctrl-C meanwhile.
- Healing is idempotent: it does not change what is not broken.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from tercet.converge.fleet import Fleet
from tercet.drills.scenario.actions import GRACE_S, Action, Fault, FromOutside, OnNode
from tercet.errors import TercetError
from tercet.providers.base import Faults

HEAL_LIMIT_S = 60.0
"""The time limit of a healing action in seconds; starting a site's containers takes a few seconds."""


class FaultError(TercetError):
    """A fault could not be made."""


class ImpossibleError(FaultError):
    """The fault cannot be made on this platform; nothing was touched."""


class HealingError(TercetError):
    """Something could not be healed. The message says what, why, and what will or can heal it."""


Record = Callable[[str, Fault, str], None]
"""Called for each step with "injecting", "injected", "healing", "healed" or "heal failed", the fault, and a detail."""


class Healing:
    """`async with Healing(…) as healing: await healing.inject(fault) …`: leaving the block heals everything."""

    def __init__(self, fleet: Fleet, faults: Faults, record: Record) -> None:
        self._fleet, self._faults, self._record = fleet, faults, record
        self._standing: list[Fault] = []

    @property
    def standing(self) -> tuple[Fault, ...]:
        """The faults that are not healed yet, in the order in which they were made."""
        return tuple(self._standing)

    async def inject(self, fault: Fault) -> None:
        """Make a fault (see `possible`). Raises FaultError. A fault that was made only in part is also healed on
        leaving.
        """
        self._standing.append(fault)
        self._record("injecting", fault, "")
        for action in (*fault.arm, *fault.inject):
            await self._do(action, fault, "make")
        self._record("injected", fault, "")

    async def heal(self, only: Fault | None = None) -> None:
        """Heal every fault in force, the last one first, or only the given one.

        Raises HealingError after all have been tried.
        """
        failures: list[str] = []
        for fault in list(reversed(self._standing)) if only is None else [only]:
            failures += self._recorded("healing", fault)
            reasons = [reason for action in fault.heal if (reason := await self._healed(action, fault))]
            self._standing.remove(fault)
            failures += reasons
            failures += self._recorded("heal failed" if reasons else "healed", fault, "; ".join(reasons))
        if failures:
            raise HealingError(
                f"expected everything to be healed, found: {'; '.join(failures)}. A timer on the node or of the "
                f"provider heals it within {GRACE_S:g} s of the fault's time; then run `tercet up`"
            )

    async def _healed(self, action: Action, fault: Fault) -> str:
        """Carry out one action of the healing. Returns "", or why it failed."""
        try:
            async with asyncio.timeout(HEAL_LIMIT_S):
                await self._do(action, fault, "heal")
        except TimeoutError:
            return f"{fault.title}: not healed within {HEAL_LIMIT_S:g} s"
        except Exception as error:  # whatever the error is, the other actions must still be tried
            return _why(error)
        return ""

    def _recorded(self, action: str, fault: Fault, detail: str = "") -> list[str]:
        """Record a step. Returns "", or why that failed: a full disk here must not leave a fault unhealed there."""
        try:
            self._record(action, fault, detail)
        except Exception as error:
            return [f"“{action}: {fault.title}” could not be recorded: {_why(error)}"]
        return []

    async def _do(self, action: Action, fault: Fault, purpose: str) -> None:
        if isinstance(action, FromOutside):
            await getattr(self._faults, action.method)(*action.arguments, **dict(action.keywords))
        else:
            await _on_node(self._fleet, action, fault, purpose)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            await uninterrupted(self.heal())
        except HealingError as failure:
            if error is None:
                raise
            if isinstance(error, TercetError):
                raise HealingError(f"{error}. Besides, {failure}") from error
            error.add_note(str(failure))  # a bug or Ctrl-C is raised as it is; `record` got the failure


async def possible(faults: Iterable[Fault], fleet: Fleet) -> None:
    """Check whether these faults can be made. Raises ImpossibleError if one cannot; changes nothing."""
    for fault in faults:
        for question in fault.check:
            try:
                await _on_node(fleet, question, fault, "make")
            except FaultError as error:
                raise ImpossibleError(str(error)) from None


async def _on_node(fleet: Fleet, action: OnNode, fault: Fault, purpose: str) -> None:
    request = action.request
    stdin = request.stdin if isinstance(request.stdin, bytes) else b""
    done = await fleet.run(action.node, request.argv, stdin=stdin, timeout=request.timeout)
    if done.status:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise FaultError(
            f"{purpose} “{fault.title}” on {action.node}: "
            f"{said[-1] if said else f'exit status {done.status} without output'}"
        )


def _why(error: BaseException) -> str:
    """The message of an error; for a group, the messages of all its errors."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_why(one) for one in error.exceptions)
    return str(error) if isinstance(error, TercetError) else f"{type(error).__name__}: {error}"


async def uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Await `work` to its end even if this task is cancelled or Ctrl-C is pressed; then raise the cancellation."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    with _deaf():
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError as error:
                if task.cancelled():
                    raise
                cancelled = error
            except Exception:
                break  # raised below
    task.result()
    if cancelled is not None:
        raise cancelled


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Ignore Ctrl-C: on a second one, asyncio would cancel every task, including the healing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def victims(faults: Iterable[Fault]) -> frozenset[str]:
    """All nodes that these faults hit."""
    return frozenset(node for fault in faults for node in fault.nodes)


def roaming(faults: Iterable[Fault]) -> frozenset[str]:
    """All sites whose apps node loses the connection to every database because of these faults."""
    return frozenset[str]().union(*(fault.roaming for fault in faults))
