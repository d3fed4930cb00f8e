"""Converts YAML text to plain data, and records the place of each value in the file.

It reads only what an inventory needs: mappings, lists, and scalars that are null, true/false, numbers or text. Other
features of YAML (aliases, tags, several documents) are problems, so no text can run code or grow when it is read. Dates
are text. A key without a value counts as missing: `ports:` with every line below it commented out means the defaults.
All problems are collected, but reading stops at a syntax error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

from tercet.inventory.problems import Finding, Location, Problem, dotted, quoted

Data = dict[str, "Data"] | list["Data"] | str | int | float | bool | None

MAX_DEPTH = 20
STANDARD = "tag:yaml.org,2002:"


_SYNTAX = (
    ("mapping values are not allowed", "a key where no key is allowed"),
    ("sequence entries are not allowed", "a list item where none is allowed"),
    ("found unexpected end of stream", "a quote that is never closed"),
    ("could not find expected ':'", 'a line that is not "key: value"'),
    ("expected ',' or ']'", 'a list item without "," or "]" after it'),
    ("expected ',' or '}'", 'a key and value without "," or "}" after them'),
    ("expected <block end>", "a line whose indentation fits no level"),
    ("expected the node content", "no value"),
    ("found unknown escape", "an unknown escape sequence"),
    ("expected escape sequence", "an unknown escape sequence"),
    ("found character", "a value that begins with a character that needs quotes"),
)
"""PyYAML's messages for common mistakes, and ours for the same. Other messages of PyYAML are not changed."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a value and its key (line and column, from 1), and the text of a scalar as it was written."""

    key: tuple[int, int]
    value: tuple[int, int]
    text: str | None


@dataclass
class Document:
    """The data of a file with the place of every value, and the problems of the YAML itself."""

    data: Data = None
    places: dict[Location, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, location: Location) -> Place:
        """The place of a value. If it is not in the file, the place of the nearest enclosing value that is."""
        while location and location not in self.places:
            location = location[:-1]
        return self.places.get(location, Place((1, 1), (1, 1), None))

    def problem(self, finding: Finding) -> Problem:
        """The finding with its line and column."""
        place = self.place(finding.at)
        whole = finding.at in self.places
        line, column = place.key if finding.on_key or not whole else place.value
        return Problem(line, column, dotted(finding.at), finding.expected, finding.found, finding.write)


class _Loader(yaml.SafeLoader):
    """Composes nodes; refuses aliases and deep nesting, which no inventory needs."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="an alias", problem_mark=mark)
        if self.depth >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_DEPTH} levels", problem_mark=mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def value_at(data: Data, location: Location) -> Data:
    """The value at a location; None if it does not exist."""
    for part in location:
        if isinstance(data, dict) and isinstance(part, str):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data


def read(raw: bytes) -> Document:
    """Read the bytes of a file. Never raises: errors are in `problems`."""
    document = Document()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _position(raw[: error.start].decode("utf-8", "replace"))
        found = f"the byte 0x{raw[error.start]:02x}"
        document.problems.append(Problem(line, column, "", "text in UTF-8", found, "the file in UTF-8"))
        return document
    try:
        loader = _Loader(text)
    except ReaderError as error:
        line, column = _position(text[: error.position])
        found = f"the control character U+{ord(text[error.position]):04X}"
        document.problems.append(Problem(line, column, "", "printable text", found, "the line without it"))
        return document
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        document.problems.append(_syntax(error, text))
        return document
    except (ValueError, OverflowError):  # PyYAML lets these through for an escape such as "\\UFFFFFFFF"
        mark = loader.get_mark()
        bad = yaml.MarkedYAMLError(problem="an escape sequence that is not a character", problem_mark=mark)
        document.problems.append(_syntax(bad, text))
        return document
    finally:
        loader.dispose()
    if root is not None:
        document.data = _Converter(document).convert(root, (), root)
    return document


def _position(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _syntax(error: yaml.MarkedYAMLError, text: str) -> Problem:
    """A YAML error in terms that a person who edits the file understands."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    lines = text.splitlines()
    here = lines[line - 1].strip() if line <= len(lines) else ""
    problem = error.problem or "something that is not YAML"
    ours = (said for start, said in _SYNTAX if problem.startswith(start))
    found = next(ours, problem.removeprefix("found ")) + (
        f' in "{quoted(here)[1:-1]}"' if here else " at the end of the file"
    )
    if "'\\t'" in problem:
        return Problem(line, column, "", "spaces", "a tab", "two spaces for each level")
    if problem == "an alias":
        return Problem(line, column, "", "a value", f"the alias {quoted(here)}", "the value itself once more")
    if problem.startswith("but found another document"):
        return Problem(line, column, "", "one document", "a second one", "one inventory per file, without ---")
    hint = 'the line with its level\'s indentation, as "key: value"; quote a value that holds ": " or " #"'
    if problem.startswith("more than"):
        hint = "a flat inventory; see `tercet init` for one"
    return Problem(line, column, "", "valid YAML", found, hint)


class _Converter:
    """Converts nodes to plain data, and records every place and everything that is not plain."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._scalars = SafeConstructor()

    def convert(self, node: Node, location: Location, key: Node) -> Data:
        text = node.value if isinstance(node, ScalarNode) else None
        self._document.places[location] = Place(_start(key), _start(node), text)
        match node:
            case MappingNode(tag=tag) if tag == STANDARD + "map":
                pairs = {
                    name: self.convert(value, (*location, name), key)
                    for name, key, value in self._pairs(node, location)
                }
                return {name: value for name, value in pairs.items() if value is not None}
            case SequenceNode(tag=tag) if tag == STANDARD + "seq":
                return [self.convert(item, (*location, i), item) for i, item in enumerate(node.value)]
            case ScalarNode():
                return self._scalar(node, location)
        self._wrong(node, location, "a plain value", f"the tag {quoted(node.tag)}", "it without a tag")
        return None

    def _pairs(self, node: MappingNode, location: Location) -> Iterator[tuple[str, Node, Node]]:
        """The pairs of a mapping; the first of two equal keys counts."""
        first: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._wrong(key, location, "a name before the colon", "a list or mapping", "key: value")
                continue
            name = key.value
            if name in first:
                self._wrong(
                    key,
                    (*location, name),
                    "each key once",
                    f"{quoted(name)} again (first on line {first[name]})",
                    "both under one key, or remove one",
                )
                continue
            first[name] = _start(key)[0]
            yield name, key, value

    def _scalar(self, node: ScalarNode, location: Location) -> Data:
        text: str = node.value
        try:
            match node.tag.removeprefix(STANDARD):
                case "null":
                    return None
                case "bool":
                    return bool(self._scalars.construct_yaml_bool(node))
                case "int":
                    number = int(self._scalars.construct_yaml_int(node))
                    if abs(number) < 2**63:
                        return number
                    self._wrong(node, location, "a number of at most 64 bits", quoted(text), "a smaller one")
                    return None
                case "float":
                    return float(self._scalars.construct_yaml_float(node))
                case "str" | "timestamp" | "value" | "merge":
                    text.encode()  # refuses half of a surrogate pair
                    return text
        except (ValueError, KeyError, IndexError, OverflowError):
            self._wrong(node, location, "a value that fits its tag", quoted(text), "it in quotes")
            return None
        self._wrong(node, location, "a plain value", f"the tag {quoted(node.tag)}", "it without a tag")
        return None

    def _wrong(self, node: Node, location: Location, expected: str, found: str, write: str) -> None:
        line, column = _start(node)
        self._document.problems.append(Problem(line, column, dotted(location), expected, found, write))


def _start(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
