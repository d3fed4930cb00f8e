"""`python bench/production.py`: `up`, an empty `plan` and `down` through the Proxmox path, with 0 and 40 ms round trip.

The servers are those of tests/lab/pvefarm.py: the API of fakepve and real SSH in front of real containers, on this
machine. The delay is added to every byte between the command line and the servers, both ways. Image and components
are made and packed before the measured time; each round has servers of its own, so sending the image is part of `up`.
Whatever ends it, Ctrl-C included, the servers are gone afterwards; figures are saved when all are there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tercet.converge.events import silent
from tercet.image.build import ensure_image
from tercet.inventory.load import load
from tercet.providers.proxmox.template import packed
from tests.lab.farm import Farm, raised_farm

NAME = "t-pvebench"
ROUND_TRIPS_MS = (0, 40)
PLAN_GOAL_S = 5.0  # at 40 ms
OUTPUT = Path(__file__).with_name("production.json")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 1 if the goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", type=int, default=5, metavar="N", help="repeats of an empty plan (5)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the JSON goes")
    arguments = parser.parse_args(argv)
    figures: dict[str, float | list[float]] = {}
    for milliseconds in ROUND_TRIPS_MS:
        with tempfile.TemporaryDirectory() as folder, raised_farm(Path(folder), NAME) as farm:
            pack(farm)
            farm.obey("delay", str(milliseconds / 2000))
            measure(farm, f"{milliseconds} ms", arguments.plans, figures)
    median = statistics.median(figures["plan at 40 ms"])  # type: ignore[arg-type]
    met = median <= PLAN_GOAL_S
    print(f"empty plan at 40 ms: {median:g} s, goal {PLAN_GOAL_S:g} s {'met' if met else 'MISSED'}")
    result = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "host": platform.node(), "seconds": figures}
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"saved {arguments.output}")
    return 0 if met else 1


def pack(farm: Farm) -> None:
    """Make the template that `up` sends, unless it is there."""

    async def work() -> None:
        image = await ensure_image(load(farm.file).settings, farm.file.with_name("tercet.lock.json"), silent)
        await packed(image, silent)

    asyncio.run(work())


def measure(farm: Farm, label: str, plans: int, figures: dict[str, float | list[float]]) -> None:
    """One round: nothing, up, verified, plans (which fail where they are not empty), down."""

    def timed(name: str, action: Callable[[], object]) -> float:
        began = time.monotonic()
        action()
        took = round(time.monotonic() - began, 2)
        print(f"{name:<16} {took:7.2f} s", flush=True)
        return took

    figures[f"up at {label}"] = timed(f"up at {label}", lambda: farm.call("up", timeout=900))
    figures[f"plan at {label}"] = [
        timed(f"plan at {label}", lambda: farm.call("plan", timeout=120)) for _ in range(plans)
    ]
    figures[f"down at {label}"] = timed(f"down at {label}", lambda: farm.call("down", "--yes", timeout=300))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end with it
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted: nothing was saved, and nothing is left", file=sys.stderr)
        sys.exit(130)
