"""Reads credentials. The inventory says where a credential comes from; the value itself is never in it.

The sources are `env:NAME`, `file:PATH` (relative to the inventory; only its owner may read it) and `command:PROGRAM
ARGUMENTS` (run without a shell; the credential is its output). Invariant: no message and no repr of this module
contains a credential.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from tercet.errors import TercetError

COMMAND_TIMEOUT = 60.0  # seconds; a password manager may have to ask its user first
MAX_BYTES = 64 * 1024

_PATTERN = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.*\S.*|command:.*\S.*)$"
EXPECTED = "env:NAME, file:PATH or command:PROGRAM ARGUMENTS (the inventory itself never contains a credential)"


def _check(value: str) -> str:
    if re.fullmatch(_PATTERN, value):
        try:
            shlex.split(value)
        except ValueError:
            pass
        else:
            return value
    # `hidden`: the value may be the credential itself, so no message may show it.
    raise PydanticCustomError(
        "shape", "expected {expected}", {"expected": EXPECTED, "write": "env:NAME", "hidden": True}
    )


Credential = Annotated[str, AfterValidator(_check), Field(json_schema_extra={"pattern": _PATTERN})]


def resolved(source: str, folder: Path) -> str:
    """The same source with a relative `file:` path made absolute."""
    kind, _, rest = source.partition(":")
    return f"file:{folder / Path(rest.strip()).expanduser()}" if kind == "file" else source


def read_credential(source: str, what: str, environment: Mapping[str, str] | None = None) -> str:
    """The credential at `source`; `what` names its use in errors ("API secret of sib-01").

    Raises TercetError if it is absent or empty, if others can read its file, or if its command fails.
    """
    kind, _, rest = source.partition(":")
    rest = rest.strip()
    match kind:
        case "env":
            value = (os.environ if environment is None else environment).get(rest, "")
            missing = f"no environment variable {rest}: set it"
        case "file":
            value = _from_file(Path(rest), what)
            missing = f"nothing in {rest}: write the credential into it"
        case _:
            value = _from_command(shlex.split(rest), what)
            missing = "that the command printed nothing: make it print only the credential"
    place = f"command {shlex.split(rest)[0]}" if kind == "command" else source
    if not value.strip():
        raise TercetError(f"expected the {what} from {place}, found {missing}")
    if not value.strip().isprintable():
        raise TercetError(f"expected the {what} from {place} as one line of text, found more: remove the rest")
    return value.strip()


def _from_file(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(MAX_BYTES)
    except OSError as error:
        raise TercetError(f"expected the {what} in {path}, found {error.strerror}: write it there") from None
    if stat.S_ISREG(mode) and mode & 0o077:
        raise TercetError(
            f"expected {path} with the {what} to be readable only by its owner, "
            f"found mode {stat.S_IMODE(mode):04o}: run `chmod 600 {path}`"
        )
    return raw.decode("utf-8", "replace")


def _from_command(argv: list[str], what: str) -> str:
    name = argv[0]
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, timeout=COMMAND_TIMEOUT, check=False)
    except FileNotFoundError:
        raise TercetError(f"expected the {what} from the command {name}, found no such program") from None
    except OSError as error:
        raise TercetError(f"expected the {what} from the command {name}, found {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise TercetError(
            f"expected the {what} from the command {name} within {COMMAND_TIMEOUT:.0f} s, found it still running"
        ) from None
    if done.returncode != 0:
        raise TercetError(f"expected the {what} from the command {name}, found that it failed ({done.returncode})")
    return done.stdout[:MAX_BYTES].decode("utf-8", "replace")
