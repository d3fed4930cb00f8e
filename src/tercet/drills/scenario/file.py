"""Finds and reads scenario files. An error has the line, what was expected, and what to write instead."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tercet.drills.expect import ExpectModel
from tercet.drills.scenario.model import LoadModel, Scenario, fault_keys
from tercet.drills.scenario.targets import unknown
from tercet.errors import TercetError
from tercet.inventory.document import Document, read, value_at
from tercet.inventory.platform import Platform
from tercet.inventory.problems import Finding, Location, Problem, quoted

MAX_BYTES = 1 << 16

_MODELS: Mapping[str, type[BaseModel]] = {
    "": Scenario,
    "load": LoadModel,
    "expect": ExpectModel,
}


class ScenarioError(TercetError):
    """A scenario that does not exist or is wrong. Each problem starts with FILE:LINE:COLUMN."""


def built_in() -> dict[str, Scenario]:
    """The scenarios that come with tercet, by name, in the order of their files."""
    folder = resources.files("tercet.drills.scenario").joinpath("built_in")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yml")), key=lambda f: f.name)
    scenarios = (parse(file.read_bytes(), file.name) for file in files)
    return {scenario.name: scenario for scenario in scenarios}


def find(name: str, platform: Platform | None = None) -> Scenario:
    """The built-in scenario of that name, or the scenario in the file at that path. The platform must have its
    targets.
    """
    if name.endswith((".yml", ".yaml")) or "/" in name:
        return load(Path(name), platform)
    known = built_in()
    if name in known:
        return known[name]
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else "see `tercet drill list`, or name a file.yml"
    raise ScenarioError(f"expected the name of a drill, found {name!r}; {hint}")


def load(path: Path, platform: Platform | None = None) -> Scenario:
    """Read a scenario file. Raises ScenarioError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ScenarioError(
            f"expected a scenario at {path}, found that it cannot be read ({error.strerror}); "
            "name the file with its path"
        ) from None
    if len(raw) > MAX_BYTES:
        raise ScenarioError(f"expected a scenario at {path}, found a file of more than {MAX_BYTES >> 10} KiB")
    return parse(raw, str(path), platform)


def parse(raw: bytes, name: str, platform: Platform | None = None) -> Scenario:
    """The scenario in the bytes of a file. `name` is the name of the file in errors.

    With `platform`, targets with unknown sites or nodes are refused, too.
    """
    document = read(raw)
    problems = list(document.problems)
    if not problems and not isinstance(document.data, dict):
        problems.append(Problem(1, 1, "", "a scenario", "no keys", "name:, title:, promise:, faults:"))
    if not problems:
        try:
            scenario = Scenario.model_validate_json(json.dumps(document.data), strict=True)
        except ValidationError as error:
            findings = _distinct(_explain(one, document) for one in error.errors(include_url=False))
        else:
            findings = list(_strangers(scenario, platform)) if platform else []
            if not findings:
                return scenario
        problems = [document.problem(finding) for finding in findings]
    raise ScenarioError("\n".join(f"{name}:{p.line}:{p.column}: {p}" for p in sorted(problems)))


def _strangers(scenario: Scenario, platform: Platform) -> Iterator[Finding]:
    """The targets that this platform does not have."""
    for number, fault in enumerate(scenario.faults):
        single = len(fault.targets) == 1
        for place, target in enumerate(fault.targets):
            wrong = unknown(target, platform)
            if wrong:
                at: Location = ("faults", number, fault.kind, *(() if single else (place,)))
                write = f"{fault.kind}: {wrong.write}" if single and wrong.write else wrong.write
                yield Finding(at, wrong.expected, quoted(wrong.found), write or f"{fault.kind}: {_example(fault.kind)}")


def _distinct(findings: Any) -> list[Finding]:
    """One finding per place, because each member of a union reports one, and none for a place that contains another."""
    by_place: dict[Location, Finding] = {}
    for finding in findings:
        by_place.setdefault(finding.at, finding)
    inner = {at[:length] for at in by_place for length in range(len(at))}
    return [finding for at, finding in by_place.items() if at not in inner]


def _explain(error: ErrorDetails, document: Document) -> Finding:
    at = _in_file(error["loc"], document)
    known = _keys(at[:-1])
    if error["type"] == "extra_forbidden":
        close = get_close_matches(str(at[-1]).lower().replace("-", "_"), known, n=1)
        write = f"{close[0]}: (did you mean this?)" if close else "one of these, or remove the line"
        return Finding(at, f"one of the keys {', '.join(known)}", quoted(str(at[-1])), write, on_key=True)
    if error["type"] == "missing":
        return Finding(at, f"the key {at[-1]}", "none", f"{at[-1]}: {_example(str(at[-1]))}")
    context = error.get("ctx", {})
    expected = str(context.get("expected") or error["msg"].removeprefix("Input should be ")).replace("'", "")
    found = quoted(value_at(document.data, at))
    key = next((part for part in reversed(at) if isinstance(part, str)), "")
    return Finding(at, expected, found, f"{key}: {context.get('write') or _example(key)}")


def _in_file(location: tuple[int | str, ...], document: Document) -> Location:
    """The error's location without the parts that pydantic adds for the members of a union."""
    at: Location = ()
    for part in location:
        here = value_at(document.data, at)
        inside = isinstance(here, dict) and isinstance(part, str)
        inside = inside or (isinstance(here, list) and isinstance(part, int))
        if inside:
            at = (*at, part)
    return at


def _keys(at: Location) -> tuple[str, ...]:
    section = str(at[0]) if at else ""
    if section == "faults":
        return tuple(fault_keys())
    model = _MODELS.get(section)
    return tuple(model.model_fields) if model else ()


_EXAMPLES = {
    "name": "site-killed",
    "title": "The site with the primary dies",
    "promise": "a standby is promoted, nothing is lost",
    "faults": "a list, each item such as: - kill: site of the primary",
    "mechanism": "silence",
    "promises": "[standbys complete]",
    **dict.fromkeys(
        ("writes", "reads", "healing", "back", "refused", "healthy"), "unjudged, 4s, or the name of a budget"
    ),
}


def _example(key: str) -> str:
    of_fault = fault_keys().get(key)
    return str(of_fault.examples[0]) if of_fault and of_fault.examples else _EXAMPLES.get(key, "5s")
