"""Generated secrets, kept in one file of mode 0600 beside the inventory. See `load_or_create`.

Invariants: the file is whole or absent, nobody but its owner can read it, a secret that is in it is never
replaced, and no message of this module holds a secret.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml

from tercet.errors import TercetError
from tercet.inventory.document import read
from tercet.inventory.replace import replace_file


@dataclass(frozen=True, slots=True)
class Secrets:
    """All generated secrets. `repr` shows none of them."""

    postgres_superuser: str = field(repr=False)
    postgres_replication: str = field(repr=False)
    postgres_rewind: str = field(repr=False)
    postgres_application: str = field(repr=False)
    patroni_api: str = field(repr=False)  # basic auth of Patroni's REST API for everything that changes state
    proxy_admin: str = field(repr=False)
    lab_ca_cert: str = field(repr=False)  # PEM; signs the certificate of the lab's headscale
    lab_ca_key: str = field(repr=False)
    lab_headscale_cert: str = field(repr=False)
    lab_headscale_key: str = field(repr=False)


NAMES = tuple(secret.name for secret in fields(Secrets))
PASSWORDS = tuple(name for name in NAMES if not name.startswith("lab_"))
AUTHORITY = ("lab_ca_cert", "lab_ca_key")
HEADSCALE = ("lab_headscale_cert", "lab_headscale_key")
PLATFORM = "platform"  # no secret: the name of the platform that lives with these
STAND_IN = "made by `tercet up`"
# A password goes into SQL, password files, shell scripts and templates. What one of them takes for its own
# (quotes, backslashes, colons, braces, dollars, white space) is refused instead of quoted six times.
PUNCTUATION = "!#%&()*+,-./;<=>?@[]^_|~"
_PASSWORD = re.compile(rf"[A-Za-z0-9{re.escape(PUNCTUATION)}]+")

_HEADER = """\
# Passwords and keys that tercet generated for the inventory beside this file. Keep it private and keep a copy:
# the platform cannot be managed without it. What is missing is made by `tercet up`. Once the platform runs, other
# values than its own are refused: docs/production.md says how to change one.
"""


def load(path: Path) -> Secrets | None:
    """The secrets in the file at `path`; None where there is no file or not all of them are in it.

    Raises TercetError where others can read the file or it is broken.
    """
    values = _read(path)
    return Secrets(**{name: values[name] for name in NAMES}) if values.keys() >= set(NAMES) else None


def peek(path: Path) -> Secrets:
    """The secrets in the file at `path`, a stand-in for each that is still to be made. Writes nothing.

    Raises TercetError where others can read the file or it is broken.
    """
    values = _read(path)
    return Secrets(**{name: values.get(name, STAND_IN) for name in NAMES})


def holds_any(path: Path) -> bool:
    """There is a secret in the file at `path`. Raises TercetError as `peek` does."""
    return not _read(path).keys().isdisjoint(NAMES)


def owner(path: Path) -> str:
    """The platform that the secrets in the file at `path` belong to; "" if none has claimed them.

    Raises TercetError as `peek` does.
    """
    return _read(path).get(PLATFORM, "")


def claim(path: Path, platform: str) -> None:
    """Note in the file at `path` that its secrets belong to this platform. Raises TercetError as `load_or_create`."""
    if owner(path) != platform:
        with _alone(path):
            _write(path, {**_read(path), PLATFORM: platform})


def load_or_create(path: Path) -> Secrets:
    """The secrets in the file at `path`, after what was missing has been generated and written there.

    Raises TercetError where others can read the file, it is broken, or it cannot be written.
    """
    if found := load(path):
        return found
    with _alone(path):
        values = _read(path)
        try:
            values = {**values, **_generated(values, path)}
        except ValueError:
            raise _broken(path, "a lab certificate or key that is no PEM of this kind") from None
        _write(path, values)
    return Secrets(**{name: values[name] for name in NAMES})


def _generated(values: Mapping[str, str], path: Path) -> dict[str, str]:
    """What is missing. A certificate without its key, or the reverse, cannot be completed."""
    from tercet.inventory.certificates import Pair, make_authority, make_headscale, signed_by  # noqa: PLC0415

    for pair in (AUTHORITY, HEADSCALE):
        if len(values.keys() & set(pair)) == 1:
            raise _broken(path, f"only one of {pair[0]} and {pair[1]}", "remove it, so that both are made anew")
    new = {name: secrets.token_hex(24) for name in PASSWORDS if name not in values}
    known = AUTHORITY[0] in values
    authority = Pair(*(values[name] for name in AUTHORITY)) if known else make_authority()
    if not known:
        new |= zip(AUTHORITY, (authority.certificate, authority.key), strict=True)
    if HEADSCALE[0] not in values:
        headscale = make_headscale(authority)
        new |= zip(HEADSCALE, (headscale.certificate, headscale.key), strict=True)
    elif not signed_by(Pair(*(values[name] for name in HEADSCALE)), authority):
        problem = f"{HEADSCALE[0]} that was not signed by {AUTHORITY[0]}"
        raise _broken(path, problem, f"remove {HEADSCALE[0]} and {HEADSCALE[1]}, so that they are made anew")
    return new


def _read(path: Path) -> dict[str, str]:
    """Every pair in the file, also those that this version does not know; empty where there is none yet."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & 0o077:
                raise TercetError(
                    f"expected {path} to be readable by its owner alone, found mode {stat.S_IMODE(mode):04o}: "
                    f"run `chmod 600 {path}`; if others may have read it, change the secrets as docs/production.md says"
                )
            raw = file.read()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise TercetError(
            f"expected to read the secrets in {path}, found {error.strerror}: run as the user who owns it"
        ) from None
    document = read(raw)
    if document.problems:  # their texts may quote a secret
        raise _broken(path, f"no plain YAML at line {document.problems[0].line}")
    data = document.data or {}
    if not isinstance(data, dict):
        raise _broken(path, "no mapping of names to secrets")
    for name, value in data.items():
        if not isinstance(value, str) or not value.strip():
            raise _broken(path, f"a value of {name} that is no text" if name in NAMES else "a value that is no text")
        if name in PASSWORDS and not _PASSWORD.fullmatch(value):
            found = f"a character in {name} that is neither a letter nor a digit of ASCII nor one of {PUNCTUATION}"
            raise _broken(path, found, "the others mean something to SQL, password files or templates; restore it")
    return {name: value for name, value in data.items() if isinstance(value, str)}


def _broken(path: Path, found: str, remedy: str = "restore it from your copy") -> TercetError:
    return TercetError(
        f"expected the platform's secrets in {path}, found {found}: {remedy}; tercet changes nothing in a broken file"
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else generates secrets in this folder meanwhile."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise TercetError(f"expected to write {path}, found another tercet doing so: run the command again") from None
    finally:
        os.close(folder)


def _write(path: Path, values: Mapping[str, str]) -> None:
    """Replace the file as a whole: the old one stays until the new one is on the disk."""
    text = _HEADER + yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, width=1000)
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> TercetError:
    return TercetError(
        f"expected to write the platform's secrets to {path}, found {error.strerror}: "
        "make its folder writable or move the inventory"
    )


class _Dumper(yaml.SafeDumper):
    """Writes keys and certificates as blocks of lines."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
