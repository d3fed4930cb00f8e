"""`tercet drill soak`: random faults, round after round, until all rounds are done or a promise is broken."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tercet.cli.command import Command
from tercet.cli.drill_options import STDOUT, journals_option, json_option
from tercet.cli.invocation import Invocation
from tercet.cli.opened import with_progress
from tercet.errors import TercetError

if TYPE_CHECKING:
    from tercet.converge.events import Emit
    from tercet.drills.soak.run import Soak
    from tercet.session.session import Session

ROUNDS = 20
LONGEST_S = 24 * 3600
HEADS = ("KIND", "ROUNDS", "WORST GAP", "BACK TO HEALTH", "LOST")


def _number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise click.BadParameter(f"expected a number from 1 to 1000000, found {text}")
    return int(text)


def _time(text: str) -> float:
    match = re.fullmatch(r"(\d+)(s|m|h)", text)
    seconds = int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]] if match else 0
    if not 0 < seconds <= LONGEST_S:
        raise click.BadParameter(f"expected a time up to 24h, such as 90s, 30m or 2h, found {text}")
    return float(seconds)


def _kinds(text: str) -> tuple[str, ...]:
    from tercet.drills.scenario.fault import kinds  # noqa: PLC0415

    words = tuple(word.strip() for word in text.split(","))
    unknown = [word for word in words if word not in kinds()]
    if unknown:
        raise click.BadParameter(f"expected kinds of {', '.join(kinds())}, found {', '.join(unknown)}")
    return tuple(kind for kind in kinds() if kind in words)


@click.command(
    "soak",
    cls=Command,
    help="make random faults, round after round, and judge each; exit 1 at the first broken promise",
    examples=(
        ("tercet drill soak --rounds 200", "takes about an hour and a half"),
        ("tercet drill soak --for 2h --kinds loss,flap,cut_one_way", "only bad links"),
        ("tercet drill soak --seed 4711 --round 12", "repeats that round"),
    ),
    interrupted="Faults were healed unless a line with ✗ says otherwise. The unfinished round was not judged.",
)
@click.option("--rounds", metavar="N", type=_number, help=f"the number of rounds; default: {ROUNDS}")
@click.option("--for", "seconds", metavar="TIME", type=_time, help="the duration instead, such as 30m or 2h")
@click.option("--round", "only", metavar="K", type=_number, help="repeat only round K of this seed")
@click.option("--seed", metavar="S", type=_number, help="the seed of the random faults; default: a new one")
@click.option(
    "--kinds", metavar="KINDS", type=_kinds, help="the kinds of fault, such as loss,kill; default: all possible"
)
@json_option("the summary")
@journals_option
@click.pass_obj
def soak(
    call: Invocation,
    *,
    rounds: int | None,
    seconds: float | None,
    only: int | None,
    seed: int | None,
    kinds: tuple[str, ...] | None,
    json_file: Path | None,
    journals: Path,
) -> int:
    """Exit 1 if a promise was broken or the soak ended early."""
    if sum(length is not None for length in (rounds, seconds, only)) > 1:
        raise click.UsageError(
            "Expected one of --rounds, --for and --round, found several: leave out all but one.",
            click.get_current_context(),
        )
    seed = seed or 1 + secrets.randbelow(999_999)
    rounds = 1 if only else None if seconds else rounds or ROUNDS
    soaks: list[Soak] = []

    async def work(session: Session, emit: Emit) -> None:
        from tercet.drills.soak.run import Asked, Soak, kinds_of  # noqa: PLC0415

        asked = Asked(seed, await kinds_of(session, kinds or ()), rounds, seconds or 0.0, only or 1)
        soaks.append(Soak(session, asked, journals, emit))
        await _soak(soaks[0], emit)

    try:
        with_progress(call, work)
    finally:
        # Print the results so far even if an error or Ctrl-C ended the soak.
        if soaks and soaks[0].rounds:
            _tell(soaks[0], json_file, call)
    return 0 if soaks[0].summary.passed else 1


async def _soak(soak: Soak, emit: Emit) -> None:
    from tercet.session.session import operator  # noqa: PLC0415

    try:
        await soak.run(operator(f"drill soak, seed {soak.asked.seed}"))
    except TercetError:
        await _keep_evidence(soak, emit)
        raise
    if soak.summary.broken is not None or soak.missing:
        await _keep_evidence(soak, emit)


async def _keep_evidence(soak: Soak, emit: Emit) -> None:
    """Write a support bundle next to the journal, while the platform is as the soak left it."""
    from tercet.converge.events import Event  # noqa: PLC0415
    from tercet.operations.support.bundle import write_bundle  # noqa: PLC0415

    if soak.kept is None and not soak.rounds:
        return  # it has not begun
    beside = soak.kept or soak.folder / f"soak-{soak.asked.seed}.jsonl"
    try:
        await write_bundle(soak.session, beside.with_suffix(".support.tar.gz"), emit)
    except TercetError as error:  # the reason for the end of the soak is printed anyway
        emit(Event("support", "failed", str(error)))


def _tell(soak: Soak, json_file: Path | None, call: Invocation) -> None:
    from tercet.drills.soak.summary import as_data, as_rows  # noqa: PLC0415
    from tercet.tables import table  # noqa: PLC0415

    data = as_data(soak.summary)
    if json_file not in (None, STDOUT):
        write(json_file, json.dumps(data, indent=2, allow_nan=False) + "\n")
    if call.json or json_file == STDOUT:
        call.print_json(data)
        return
    call.console.print(table(HEADS, as_rows(soak.summary), call.console.width, right=HEADS[1:]))
    for line in _verdict(soak):
        call.console.print(line, markup=False, soft_wrap=True)


def _verdict(soak: Soak) -> list[str]:
    """Print the results, and the command that repeats the soak or the round that ended it."""
    summary = soak.summary
    wanted = f" of {summary.asked}" if summary.asked else ""
    again = f"tercet drill soak --seed {summary.seed} --kinds {','.join(summary.kinds)}"
    lines = [f"{len(summary.rounds)}{wanted} rounds, {summary.acknowledged} writes acknowledged, {summary.lost} lost"]
    if summary.missing:
        lines.append(f"At the end, {len(summary.missing)} acknowledged writes are gone, such as {summary.missing[0]}")
    if summary.broken is not None:
        lines.append(f"Round {summary.broken.number} broke a promise: {summary.broken.title}")
        lines += [f"  {reason}" for reason in summary.broken.reasons]
        lines.append(f"Journal: {soak.kept}. Repeat it: {again} --round {summary.broken.number}")
    else:
        lines.append(f"Repeat the same faults: {again} --rounds {len(summary.rounds)}")
    return lines


def write(path: Path, text: str) -> None:
    """Write a result to the file that the operator chose."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TercetError(
            f"expected to write {path}, found {error.strerror}: name a place where you may write"
        ) from None
