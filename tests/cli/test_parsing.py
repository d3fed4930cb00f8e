"""Words to commands: global options anywhere, `--` untouched, mistakes answered with what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tercet.cli import commands
from tercet.cli.command import UsageError
from tercet.cli.parsing import Parsed, parse
from tercet.cli.registry import command_names, find_command

EXEC = """
from tercet.cli.command import Command, Section

def arguments(parser):
    parser.add_argument("node", metavar="NODE")

command = Command("probe", "run something", Section.LOOK, run=lambda a, c: 0, arguments=arguments, rest="CMD…")
"""

DRILL = """
from tercet.cli.command import Command, Section

def arguments(parser):
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--json", metavar="FILE", dest="journal")

command = Command("rehearse", "failures", Section.PROOF, commands=(
    Command("list", "list them", Section.PROOF, run=lambda a, c: 0),
    Command("run", "run one", Section.PROOF, run=lambda a, c: 0, arguments=arguments),
))
"""


@pytest.fixture
def more_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two commands of the shapes that the built-in ones have, added as files, as any command is."""
    (tmp_path / "probe.py").write_text(EXEC)
    (tmp_path / "rehearse.py").write_text(DRILL)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])


@pytest.mark.parametrize(
    "words",
    [
        ["-f", "a.yml", "--lab", "--json", "-v", "--no-color", "validate"],
        ["validate", "-f", "a.yml", "--lab", "--json", "-v", "--no-color"],
        ["--lab", "-fa.yml", "validate", "--json", "--no-color", "--verbose"],
        ["-vf", "a.yml", "--no-color", "--json", "validate", "--lab"],
        ["--file=a.yml", "--no-color", "validate", "--json", "-v", "--lab"],
    ],
)
def test_global_options_stand_before_and_after_the_command(words: list[str]) -> None:
    call = parse(words).invocation
    assert (call.file, call.lab, call.json, call.verbose, call.color) == (Path("a.yml"), True, True, True, False)


def test_without_options_the_defaults_hold() -> None:
    call = parse(["validate"]).invocation
    assert (call.file, call.lab, call.json, call.verbose, call.color) == (Path("tercet.yml"), False, False, False, True)


def test_the_later_option_wins() -> None:
    assert parse(["-f", "a.yml", "validate", "-f", "b.yml"]).invocation.file == Path("b.yml")


@pytest.mark.usefixtures("more_commands")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rest=st.lists(st.text(max_size=8), min_size=1, max_size=6))
def test_what_follows_the_dashes_is_untouched(rest: list[str]) -> None:
    parsed = parse(["--lab", "probe", "db-sib-01", "--json", "--", *rest])
    assert parsed.invocation.rest == tuple(rest)
    assert parsed.arguments.node == "db-sib-01"
    assert parsed.invocation.json and parsed.invocation.lab


@pytest.mark.usefixtures("more_commands")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["probe", "db-sib-01"], "expected CMD… after --, found nothing"),
        (["probe", "db-sib-01", "--"], "expected CMD… after --, found nothing"),
        (["probe", "db-sib-01", "ls", "--", "ls"], "unrecognized arguments: ls"),
        (["probe", "--", "ls"], "the following arguments are required: NODE"),
        (["validate", "--", "ls"], "it takes nothing after --"),
        (["probe", "db-sib-01", "ls", "-l"], "what is for the program goes after --, so: -- ls -l\n"),
        (["probe", "db-sib-01", "--jsn", "--", "ls"], "unrecognized arguments: --jsn: did you mean --json?"),
        (["psql", "sib-01", "-c", "SELECT 1"], "goes after --, so: -- -c 'SELECT 1'\n"),
        (["validate", "--jsno"], "unrecognized arguments: --jsno: did you mean --json?"),
        (["--jsno", "validate"], "unrecognized arguments: --jsno: did you mean --json?"),
        (["validate", "--zzz"], "unrecognized arguments: --zzz\n"),
        (["-f"], "argument -f/--file: expected one argument"),
        ([], "expected a command, found none"),
        (["vaildate"], "did you mean `tercet validate`?"),
        (["zzz"], "expected one of "),
        (["rehearse"], "expected one of list, run after `tercet rehearse`"),
        (["rehearse", "rnu"], "did you mean `tercet rehearse run`?"),
        (["rehearse", "--foo", "run"], "unrecognized arguments: --foo"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(words)
    assert message in str(caught.value)


@pytest.mark.usefixtures("more_commands")
def test_a_usage_error_shows_the_usage_with_what_follows_the_dashes() -> None:
    with pytest.raises(UsageError, match=r"NODE -- CMD…\n"):
        parse(["probe", "db-sib-01"])


@pytest.mark.usefixtures("more_commands")
def test_a_command_in_a_group_knows_the_global_options_of_every_level() -> None:
    parsed = parse(["--lab", "rehearse", "-v", "run", "site-loss", "-f", "a.yml"])
    assert parsed.command.name == "run"
    assert parsed.arguments.name == "site-loss"
    assert parsed.invocation.lab and parsed.invocation.verbose
    assert parsed.invocation.file == Path("a.yml")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["help"], "Usage: tercet [OPTIONS] COMMAND …"),
        (["help", "drill", "run"], "Usage: tercet drill run "),
        (["-v", "help", "plan"], "Usage: tercet plan "),
        (["version"], "tercet "),
    ],
)
def test_help_and_version_are_understood_as_words(
    words: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        parse(words)
    assert left.value.code == 0
    assert capsys.readouterr().out.lower().startswith(shown.lower())


def test_the_json_of_a_drill_goes_to_a_file_or_to_standard_output() -> None:
    to_file = parse(["drill", "run", "site-killed", "--json", "out.json"])
    assert (to_file.arguments.json_file, to_file.invocation.json) == (Path("out.json"), False)
    assert parse(["drill", "run", "site-killed", "--json"]).arguments.json_file == Path("-")
    both = parse(["--json", "drill", "run", "site-killed"])
    assert (both.arguments.json_file, both.invocation.json) == (None, True)


@pytest.mark.usefixtures("more_commands")
def test_a_command_may_give_a_global_option_a_meaning_of_its_own() -> None:
    parsed = parse(["rehearse", "run", "site-loss", "--json", "out.json"])
    assert parsed.arguments.journal == "out.json"
    assert not parsed.invocation.json


@pytest.mark.parametrize("name", command_names())
def test_every_command_helps_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = find_command(name)
    for each, path in [(command, [name]), *((sub, [name, sub.name]) for sub in command.commands)]:
        if each.run is None:
            continue
        assert each.examples, f"{' '.join(path)} has no examples"
        with pytest.raises(SystemExit) as left:
            parse([*path, "--help"])
        assert left.value.code == 0
        shown = capsys.readouterr().out
        assert each.summary in shown
        for example, _ in each.examples:
            assert example in shown


@pytest.mark.parametrize("name", command_names())
def test_every_example_is_a_command_line_that_parses(name: str) -> None:
    command = find_command(name)
    for each in (command, *command.commands):
        for example, _ in each.examples:
            words = example.split(" | ")[0].split(" > ")[0].replace("sudo ", "").split()
            assert words[0] == "tercet"
            assert isinstance(parse(words[1:]), Parsed)


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = capsys.readouterr().out
    for name in command_names():
        assert f"\n  {name} " in shown


def test_a_module_without_a_command_is_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hollow.py").write_text("command = None\n")
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    with pytest.raises(TypeError, match="hollow"):
        parse(["hollow"])
