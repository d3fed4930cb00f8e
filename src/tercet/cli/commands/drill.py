"""`tercet drill list`, `run NAME`, `soak`, `report JOURNAL`: provoke failures on the real platform, and judge them;
`intruder`: attack it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tercet.cli.command import Group, Section
from tercet.cli.complete import drill_names, site_names
from tercet.cli.drill_intruder import intruder
from tercet.cli.drill_options import JOURNALS, STDOUT, journals_option, json_option
from tercet.cli.drill_soak import soak, write
from tercet.cli.invocation import Invocation
from tercet.cli.opened import with_progress
from tercet.errors import TercetError

if TYPE_CHECKING:
    from tercet.converge.events import Emit
    from tercet.drills.judge.verdict import Result
    from tercet.drills.scenario.model import Scenario
    from tercet.session.session import Session


cli = Group(
    "drill",
    section=Section.PROOF,
    order=2,
    help="provoke failures under load; measure the outage and count lost writes",
)


def _times(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise click.BadParameter(f"expected a number from 1 to 100, found {text}")
    return int(text)


report_option = click.option(
    "--report", metavar="FILE", type=click.Path(path_type=Path), help="write one self-contained HTML file"
)


@cli.command(
    "list",
    help="list the built-in drills",
    examples=(("tercet drill list", "shows the name, what happens, and where"),),
)
@click.pass_obj
def list_(call: Invocation) -> int:
    """Print name and title of each built-in drill, and the providers that can run it; with --json also its promise."""
    from tercet.drills.scenario.file import built_in  # noqa: PLC0415
    from tercet.tables import table  # noqa: PLC0415

    scenarios = built_in()
    if call.json:
        call.print_json(
            [
                {"name": s.name, "title": s.title, "promise": s.promise, "providers": s.providers}
                for s in scenarios.values()
            ]
        )
        return 0
    rows = [(scenario.name, scenario.title, ", ".join(scenario.providers)) for scenario in scenarios.values()]
    call.console.print(table(("DRILL", "WHAT HAPPENS", "PROVIDERS"), rows, call.console.width))
    return 0


@cli.command(
    "run",
    help="provoke a failure under load, measure, heal and judge; exit 1 if a promise or budget is broken",
    examples=(
        ("tercet drill run site-killed", "the primary's whole site loses power"),
        ("tercet drill run site-cut --repeat 5 --report cut.html", "median and worst of five, as a report"),
        ("tercet drill run my-scenario.yml", "your own scenario"),
    ),
    interrupted="Faults were healed unless a line with ✗ says otherwise. Check the platform with `tercet verify`.",
)
@click.argument(
    "name",
    metavar="NAME",
    shell_complete=drill_names,
    help="a drill of `tercet drill list`, or a scenario file (.yml)",
)
@click.option(
    "--site",
    metavar="SITE",
    default="",
    shell_complete=site_names,
    help="the site of the standby that the drill is about; default: the first",
)
@click.option("--repeat", metavar="N", type=_times, default="1", help="run it N times, and show median and worst")
@json_option("verdict and figures")
@report_option
@journals_option
@click.pass_obj
def run_(
    call: Invocation, name: str, *, site: str, repeat: int, json_file: Path | None, report: Path | None, journals: Path
) -> int:
    """Exit 1 if a promise or budget is broken."""
    from tercet.drills.scenario.file import find  # noqa: PLC0415

    platform = call.platform()
    scenario = find(name, platform)
    sites = [each.name for each in platform.sites]
    if site and site not in sites:
        raise TercetError(f"there is no site {site}: expected one of {', '.join(sites)}")

    results: list[Result] = []

    async def work(session: Session, emit: Emit) -> None:
        await _repeat(scenario, session, emit, results, times=repeat, site=site, folder=journals)

    try:
        with_progress(call, work)
    finally:
        # Print what was measured, even if a later run ended in an error or by Ctrl-C.
        if results:
            _tell(results, repeat, call, json_file, report)
    return 0 if all(result.passed for result in results) else 1


cli.add_command(soak)
cli.add_command(intruder)


@cli.command(
    "report",
    help="judge saved journals again, without a platform; exit 1 if a promise or budget is broken",
    examples=(
        ("tercet drill report tercet-drills/site-killed-20261123-064539.jsonl", "the verdict of that run"),
        ("tercet drill report tercet-drills/site-cut-*.jsonl --report cut.html", "all runs as one report"),
    ),
)
@click.argument(
    "journals",
    metavar="JOURNAL…",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    help=f"a drill's .jsonl file, as in {JOURNALS}/",
)
@json_option("verdict and figures")
@report_option
@click.pass_obj
def report_(call: Invocation, journals: tuple[Path, ...], json_file: Path | None, report: Path | None) -> int:
    """Judge the journals of one drill from their contents alone. Exit 1 if a promise or budget is broken."""
    results = [_judged(path, call) for path in journals]
    first = results[0].began
    for path, result in zip(journals, results, strict=True):
        other = result.began
        if (other.scenario, other.expect, other.budgets) != (first.scenario, first.expect, first.budgets):
            what = "other budgets or expectations" if other.scenario == first.scenario else other.scenario
            raise TercetError(
                f"expected runs of one drill, found {first.scenario} in {journals[0]} and {what} in {path}; "
                f"report them one by one"
            )
    _tell(results, len(results), call, json_file, report)
    return 0 if all(result.passed for result in results) else 1


def _judged(path: Path, call: Invocation) -> Result:
    from tercet.drills.journal import JournalError, read  # noqa: PLC0415
    from tercet.drills.judge.verdict import result  # noqa: PLC0415

    def torn(line: int) -> None:
        said = f"{path}:{line}: the last line is incomplete and left out: the tool was stopped while writing it"
        call.errors.print(said, markup=False, soft_wrap=True)

    entries = read(path, torn)
    try:
        return result(entries)
    except JournalError as error:
        raise JournalError(f"{path}: {error}") from None


def _tell(results: Sequence[Result], asked: int, call: Invocation, json_file: Path | None, report: Path | None) -> None:
    from tercet.cli.drill_results import as_data, spread_table  # noqa: PLC0415
    from tercet.drills.judge.verdict import Repeated  # noqa: PLC0415
    from tercet.drills.report.page import page  # noqa: PLC0415
    from tercet.drills.report.terminal import render  # noqa: PLC0415

    repeated = Repeated(tuple(results))
    data = as_data(repeated, asked)
    if call.json or json_file == STDOUT:
        call.print_json(data)
    else:
        width = call.console.width
        call.console.print(render(repeated, width))
        if len(results) > 1:
            call.console.print(spread_table(repeated, width))
    if json_file not in (None, STDOUT):
        write(json_file, json.dumps(data, indent=2, allow_nan=False) + "\n")
    if report:
        write(report, page(repeated))


async def _repeat(
    scenario: Scenario, session: Session, emit: Emit, results: list[Result], *, times: int, site: str, folder: Path
) -> None:
    """Run the drill `times` times. Each result is added to `results` at once, so an error does not lose it."""
    from tercet.drills.run.drill import run  # noqa: PLC0415
    from tercet.session.session import operator  # noqa: PLC0415

    who = operator(f"drill {scenario.name}")
    for _ in range(times):
        results.append(await run(scenario, session, site=site, folder=folder, who=who, emit=emit))
