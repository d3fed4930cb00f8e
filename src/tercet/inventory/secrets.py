"""Generated secrets, kept in one file of mode 0600 beside the inventory. See `load_or_create`.

Each component declares its secrets (generated.py). Invariants: the file is always written as a whole, only its owner
can read it, a secret in it is never replaced, and no message of this module contains a secret.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tercet.errors import TercetError
from tercet.inventory.components import declarations
from tercet.inventory.document import read
from tercet.inventory.generated import Authority, Certificate, Pair, Password, Secret
from tercet.inventory.replace import replace_file


@dataclass(frozen=True, slots=True)
class Secrets:
    """All generated secrets, by their keys in the file. `repr` shows none of them."""

    texts: Mapping[str, str] = field(repr=False)

    def password(self, which: Password) -> str:
        return self.texts[which.name]

    def pair(self, which: Authority | Certificate) -> Pair:
        return _pair(which, self.texts)


PLATFORM = "platform"  # not a secret: the name of the platform that uses these secrets
STAND_IN = "made by `tercet up`"
# A password goes into SQL, password files, shell scripts and templates. Characters with a special meaning in one of
# them (quotes, backslashes, colons, braces, dollars, white space) are refused instead of quoted in six ways.
PUNCTUATION = "!#%&()*+,-./;<=>?@[]^_|~"
_PASSWORD = re.compile(rf"[A-Za-z0-9{re.escape(PUNCTUATION)}]+")

_HEADER = """\
# Passwords and keys that tercet generated for the inventory beside this file. Keep it private and keep a copy:
# the platform cannot be managed without it. What is missing is made by `tercet up`. Once the platform runs, other
# values than its own are refused: docs/production.md says how to change one.
"""


def declared() -> tuple[Secret, ...]:
    """The declared secrets: passwords first, then certificates, each authority before the ones that it signs."""
    found = [secret for component in declarations() for secret in component.secrets]
    return tuple(sorted(found, key=lambda secret: not isinstance(secret, Password)))


def names() -> tuple[str, ...]:
    """The keys of all secrets, in the order in which a new file has them."""
    return tuple(key for secret in declared() for key in secret.keys)


def load(path: Path) -> Secrets | None:
    """The secrets in the file at `path`; None if the file does not exist or does not have all of them.

    Raises TercetError if others can read the file or it is broken.
    """
    values = _read(path)
    return _whole(values) if values.keys() >= set(names()) else None


def peek(path: Path) -> Secrets:
    """The secrets in the file at `path`, with a placeholder for each that does not exist yet. Writes nothing.

    Raises TercetError if others can read the file or it is broken.
    """
    values = _read(path)
    return Secrets({name: values.get(name, STAND_IN) for name in names()})


def holds_any(path: Path) -> bool:
    """Whether the file at `path` has a secret. Raises TercetError as `peek` does."""
    return not _read(path).keys().isdisjoint(names())


def owner(path: Path) -> str:
    """The platform that the secrets in the file at `path` belong to; "" if none has claimed them.

    Raises TercetError as `peek` does.
    """
    return _read(path).get(PLATFORM, "")


def claim(path: Path, platform: str) -> None:
    """Record in the file that its secrets belong to this platform. Raises TercetError as `load_or_create` does."""
    if owner(path) != platform:
        with _alone(path):
            _write(path, {**_read(path), PLATFORM: platform})


def load_or_create(path: Path) -> Secrets:
    """The secrets in the file at `path`, after generating the missing ones and writing them there.

    Raises TercetError if others can read the file, or if it is broken or cannot be written.
    """
    if found := load(path):
        return found
    with _alone(path):
        values = _read(path)
        try:
            values = _completed(values, path)
        except ValueError:
            raise _broken(path, "a certificate or key that is no PEM of this kind") from None
        _write(path, values)
    return _whole(values)


def _whole(values: Mapping[str, str]) -> Secrets:
    return Secrets({name: values[name] for name in names()})


def _completed(values: Mapping[str, str], path: Path) -> dict[str, str]:
    """The file's values, completed. A certificate without its key, or a key without its certificate, is an error."""
    from tercet.inventory.certificates import make_authority, make_server, signed_by  # noqa: PLC0415

    for pair in (secret.keys for secret in declared() if not isinstance(secret, Password)):
        if len(values.keys() & set(pair)) == 1:
            raise _broken(path, f"only one of {pair[0]} and {pair[1]}", "remove it, so that both are made anew")
    known = dict(values)
    for secret in declared():
        if secret.keys[0] in values:
            continue
        match secret:
            case Password(name):
                known[name] = secrets.token_hex(24)
            case Authority(_, title, host):
                known |= _texts(secret, make_authority(title, host))
            case Certificate(_, authority):
                known |= _texts(secret, make_server(authority.host, _pair(authority, known)))
    for secret in declared():
        if isinstance(secret, Certificate) and not signed_by(_pair(secret, known), _pair(secret.authority, known)):
            one, other = secret.keys
            problem = f"{one} that was not signed by {secret.authority.keys[0]}"
            raise _broken(path, problem, f"remove {one} and {other}, so that they are made anew")
    return known


def _pair(which: Authority | Certificate, texts: Mapping[str, str]) -> Pair:
    certificate, key = which.keys
    return Pair(texts[certificate], texts[key])


def _texts(which: Authority | Certificate, pair: Pair) -> dict[str, str]:
    return dict(zip(which.keys, (pair.certificate, pair.key), strict=True))


def _read(path: Path) -> dict[str, str]:
    """All names and values in the file, even those that this version does not know; empty if there is no file yet."""
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
    known = {key: secret for secret in declared() for key in secret.keys}
    for name, value in data.items():
        if not isinstance(value, str) or not value.strip():
            raise _broken(path, f"a value of {name} that is no text" if name in known else "a value that is no text")
        if isinstance(known.get(name), Password) and not _PASSWORD.fullmatch(value):
            found = f"a character in {name} that is neither a letter nor a digit of ASCII nor one of {PUNCTUATION}"
            raise _broken(path, found, "the others mean something to SQL, password files or templates; restore it")
    return {name: value for name, value in data.items() if isinstance(value, str)}


def _broken(path: Path, found: str, remedy: str = "restore it from your copy") -> TercetError:
    return TercetError(
        f"expected the platform's secrets in {path}, found {found}: {remedy}; tercet changes nothing in a broken file"
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock, so that no other process generates secrets in this folder at the same time."""
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
