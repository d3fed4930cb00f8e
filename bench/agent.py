"""What it is worth that agents stay on the nodes: one look by each way, on this machine, without a lab.

A look that starts Python and loads the agent, against one of an agent that waits (converge/persistent.py). Both ask for
the same five programs. Printed: the median time of LOOKS looks, and the CPU of one. Measured on two cores: 0.08 s and
0.060 s of a core by the first, 0.007 s and 0.009 s of a core by the second; with much else on the machine 0.57 s and
0.093 s, 0.018 s and 0.012 s.
The gates of `apply` and drills look at ten nodes again and again.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import time
from collections.abc import Sequence

from tercet.converge.fleet import Completed, Fleet
from tercet.converge.node import observe_node
from tercet.converge.persistent import PersistentAgents
from tercet.converge.requests import Exec

LOOKS = 20
ASKED = [Exec(("true", str(number))) for number in range(5)]
PIPE = asyncio.subprocess.PIPE


class Machine:
    """A fleet whose every node is this machine; what it runs is Python."""

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        process = await self.spawn(node, argv)
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin)
        return Completed(process.returncode or 0, out, err)

    async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(sys.executable, *argv[1:], stdin=PIPE, stdout=PIPE, stderr=PIPE)


async def looks(fleet: Fleet) -> list[float]:
    """Seconds that each took."""
    taken = []
    for _ in range(LOOKS):
        began = time.monotonic()
        await observe_node(fleet, "this", ASKED, timeout=60)
        taken.append(time.monotonic() - began)
    return taken


def cpu() -> float:
    """Seconds of a core that ended children have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def main() -> None:
    machine, before = Machine(), cpu()
    fresh = await looks(machine)
    between = cpu()
    async with PersistentAgents(machine) as fleet:
        kept = await looks(fleet)
    after = cpu()
    for name, taken, used in (("started", fresh, between - before), ("waiting", kept, after - between)):
        print(f"{name}: {statistics.median(taken) * 1000:.1f} ms, {used / LOOKS * 1000:.1f} ms of a core")


if __name__ == "__main__":
    asyncio.run(main())
