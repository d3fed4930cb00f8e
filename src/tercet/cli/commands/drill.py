"""`tercet drill list`, `run NAME`, `soak`, `report JOURNAL`: failures provoked on the real platform, and judged."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tercet.cli.command import Command, Invocation, Section
from tercet.cli.drill_soak import JOURNALS, STDOUT, run_soak, soak_arguments, write
from tercet.cli.opened import with_progress
from tercet.errors import TercetError

if TYPE_CHECKING:
    from tercet.converge.events import Emit
    from tercet.drills.scenario import Scenario
    from tercet.drills.verdict import Result
    from tercet.operations.session import Session


def list_drills(_arguments: argparse.Namespace, call: Invocation) -> int:
    """Name, title and the promise of each built-in drill."""
    from rich.table import Table  # noqa: PLC0415

    from tercet.drills.scenario_file import built_in  # noqa: PLC0415

    scenarios = built_in()
    if call.json:
        call.print_json([{"name": s.name, "title": s.title, "promise": s.promise} for s in scenarios.values()])
        return 0
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("DRILL", no_wrap=True)
    table.add_column("WHAT HAPPENS")
    for scenario in scenarios.values():
        table.add_row(scenario.name, scenario.title)
    call.console.print(table)
    return 0


def run_arguments(parser: argparse.ArgumentParser) -> None:
    """NAME and how to run it."""
    parser.add_argument("name", metavar="NAME", help="a drill of `tercet drill list`, or a scenario file (.yml)")
    parser.add_argument("--site", default="", help="which standby it is about; default: the first")
    parser.add_argument("--repeat", metavar="N", type=_times, default=1, help="run it N times: median and worst")
    _output_arguments(parser)
    parser.add_argument(
        "--journals", metavar="DIR", type=Path, default=JOURNALS, help=f"where journals go; default: {JOURNALS}/"
    )


def report_arguments(parser: argparse.ArgumentParser) -> None:
    """JOURNAL and where its verdict goes."""
    parser.add_argument(
        "journals", metavar="JOURNAL", nargs="+", type=Path, help=f"a drill's .jsonl file, as in {JOURNALS}/"
    )
    _output_arguments(parser)


def _output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        metavar="FILE",
        dest="json_file",
        nargs="?",
        const=STDOUT,
        type=Path,
        help="write verdict and figures there; without FILE print them",
    )
    parser.add_argument("--report", metavar="FILE", type=Path, help="write one self-contained HTML file")


def _times(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 100, found {text}")
    return int(text)


def run_drill(arguments: argparse.Namespace, call: Invocation) -> int:
    """Exit 1 if a promise or the budget is broken."""
    from tercet.drills.scenario_file import find  # noqa: PLC0415

    platform = call.platform()
    scenario = find(arguments.name, platform)
    sites = [site.name for site in platform.sites]
    if arguments.site and arguments.site not in sites:
        raise TercetError(f"there is no site {arguments.site}: expected one of {', '.join(sites)}")

    results: list[Result] = []

    async def work(session: Session, emit: Emit) -> None:
        await _repeat(scenario, session, arguments, emit, results)

    try:
        with_progress(call, work)
    finally:
        # What was measured is told, even if a later run ended in an error or by Ctrl-C.
        if results:
            _tell(results, arguments.repeat, arguments, call)
    return 0 if all(result.passed for result in results) else 1


def report_drill(arguments: argparse.Namespace, call: Invocation) -> int:
    """Judge the journals of one drill by what stands in them. Exit 1 if a promise or the budget is broken."""
    results = [_judged(path, call) for path in arguments.journals]
    first = results[0].began
    for path, result in zip(arguments.journals, results, strict=True):
        other = result.began
        if (other.scenario, other.expect, other.budgets) != (first.scenario, first.expect, first.budgets):
            what = "other budgets or expectations" if other.scenario == first.scenario else other.scenario
            raise TercetError(
                f"expected runs of one drill, found {first.scenario} in {arguments.journals[0]} and {what} in {path}; "
                f"report them one by one"
            )
    _tell(results, len(results), arguments, call)
    return 0 if all(result.passed for result in results) else 1


def _judged(path: Path, call: Invocation) -> Result:
    from tercet.drills.journal import JournalError, read  # noqa: PLC0415
    from tercet.drills.verdict import result  # noqa: PLC0415

    def torn(line: int) -> None:
        said = f"{path}:{line}: the last line is torn and left out; the tool or its machine was stopped meanwhile"
        call.errors.print(said, markup=False, soft_wrap=True)

    entries = read(path, torn)
    try:
        return result(entries)
    except JournalError as error:
        raise JournalError(f"{path}: {error}") from None


def _tell(results: Sequence[Result], asked: int, arguments: argparse.Namespace, call: Invocation) -> None:
    from tercet.cli.drill_results import as_data, spread_table  # noqa: PLC0415
    from tercet.drills.report.page import page  # noqa: PLC0415
    from tercet.drills.report.terminal import render  # noqa: PLC0415
    from tercet.drills.verdict import Repeated  # noqa: PLC0415

    repeated = Repeated(tuple(results))
    data = as_data(repeated, asked)
    if call.json or arguments.json_file == STDOUT:
        call.print_json(data)
    else:
        call.console.print(render(repeated))
        if len(results) > 1:
            call.console.print(spread_table(repeated))
    if arguments.json_file not in (None, STDOUT):
        write(arguments.json_file, json.dumps(data, indent=2, allow_nan=False) + "\n")
    if arguments.report:
        write(arguments.report, page(repeated))


async def _repeat(
    scenario: Scenario, session: Session, arguments: argparse.Namespace, emit: Emit, results: list[Result]
) -> None:
    """Each run's result goes into `results` as soon as it is there."""
    from tercet.drills.run import run  # noqa: PLC0415
    from tercet.drills.stage import Stage  # noqa: PLC0415
    from tercet.operations.session import operator  # noqa: PLC0415

    stage = Stage(session.platform, session.provider, session.context, session.components)
    who = operator(f"drill {scenario.name}")
    for _ in range(arguments.repeat):
        results.append(await run(scenario, stage, site=arguments.site, folder=arguments.journals, who=who, emit=emit))


command = Command(
    name="drill",
    summary="failure drills with measured unavailability and lost writes",
    section=Section.PROOF,
    order=2,
    commands=(
        Command(
            name="list",
            summary="the built-in drills",
            section=Section.PROOF,
            run=list_drills,
            examples=(("tercet drill list", "name and what happens"),),
        ),
        Command(
            name="run",
            summary="provoke a failure under load, measure, heal, judge; exit 1 if a promise or the budget is broken",
            section=Section.PROOF,
            run=run_drill,
            arguments=run_arguments,
            examples=(
                ("tercet drill run site-killed", "the primary's whole site loses power"),
                ("tercet drill run site-cut --repeat 5 --report cut.html", "median and worst of five, as a report"),
                ("tercet drill run my-scenario.yml", "a scenario of your own"),
            ),
            interrupted="Faults were healed unless a line with ✗ says otherwise; `tercet verify` looks at the rest.",
        ),
        Command(
            name="soak",
            summary="random faults, round after round, each judged; the first broken promise ends it; exit 1 then",
            section=Section.PROOF,
            run=run_soak,
            arguments=soak_arguments,
            examples=(
                ("tercet drill soak --rounds 200", "an hour and a half"),
                ("tercet drill soak --for 2h --kinds loss,flap,cut_one_way", "only bad links"),
                ("tercet drill soak --seed 4711 --round 12", "that one round again"),
            ),
            interrupted="Faults were healed unless a line with ✗ says otherwise; the round under way was not judged.",
        ),
        Command(
            name="report",
            summary="judge saved journals again, without a platform; exit 1 if a promise or the budget is broken",
            section=Section.PROOF,
            run=report_drill,
            arguments=report_arguments,
            examples=(
                ("tercet drill report tercet-drills/site-killed-20261123-064539.jsonl", "the verdict of that run"),
                ("tercet drill report tercet-drills/site-cut-*.jsonl --report cut.html", "all runs as one report"),
            ),
        ),
    ),
)
