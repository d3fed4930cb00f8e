"""The types of single values: what is allowed, and what to write instead of a similar wrong value.

A wrong value raises a `PydanticCustomError` of type "shape", whose context has `expected` and `write`; explain.py turns
that into a problem with a line. The JSON Schema has the same types.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from difflib import get_close_matches
from ipaddress import IPv4Network
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"  # RFC 1123, in lower case


def wrong(expected: str, write: str = "") -> PydanticCustomError:
    """The error for a value of the wrong type. `write` is a value to write instead, if one is known."""
    return PydanticCustomError("shape", "expected {expected}", {"expected": expected, "write": write})


def matching(pattern: str, expected: str, mend: Callable[[str], str] = str.strip) -> AfterValidator:
    """Text that matches `pattern` as a whole. `mend` turns a wrong value into a suggestion."""
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if compiled.fullmatch(value):
            return value
        mended = mend(value)
        raise wrong(expected, mended if compiled.fullmatch(mended) else "")

    return AfterValidator(check)


def _name(longest: int) -> tuple[str, AfterValidator]:
    pattern = rf"(?=.{{1,{longest}}}$){LABEL}"
    expected = f"a host name (a-z, 0-9 and hyphens inside; at most {longest} characters)"

    def mend(value: str) -> str:
        return re.sub(r"[^a-z0-9]+", "-", value.lower())[:longest].strip("-")

    return f"^{pattern}$", matching(pattern, expected, mend)


_HOSTNAME, _hostname = _name(63)
Hostname = Annotated[str, _hostname, Field(json_schema_extra={"pattern": _HOSTNAME})]

# A container is named ROLE-SITE and a host name has 63 characters: "consul-nomad-" leaves 50.
_SITE_NAME, _site_name = _name(63 - len("consul-nomad-"))
SiteName = Annotated[str, _site_name, Field(json_schema_extra={"pattern": _SITE_NAME})]

# The platform's name is part of paths of Unix sockets, which have at most 107 bytes.
_PLATFORM_NAME, _platform_name = _name(32)
PlatformName = Annotated[str, _platform_name, Field(json_schema_extra={"pattern": _PLATFORM_NAME})]

Identifier = Annotated[
    str,
    matching(
        r"[a-z_][a-z0-9_]{0,62}",
        "a PostgreSQL name (a-z, 0-9 and _, no digit first; at most 63 characters)",
        lambda value: re.sub(r"[^a-z0-9]+", "_", value.lower())[:63].strip("_"),
    ),
    Field(json_schema_extra={"pattern": "^[a-z_][a-z0-9_]{0,62}$"}),
]

Line = Annotated[
    str,
    matching(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]*", "text on one line", lambda value: " ".join(value.split())),
]

Version = Annotated[
    str,
    matching(
        r"(?!v\d)(?=.*\d)[0-9A-Za-z][0-9A-Za-z.:+~_-]{0,127}",  # a word such as "latest" pins nothing
        "a version as its makers write it, such as 1.22.7",
        lambda value: value.strip().removeprefix("v"),
    ),
]

_RECIPIENT = r"(age1[0-9a-z]+|ssh-(ed25519|rsa) [A-Za-z0-9+/=]+( [^\n]*)?)"


def _recipient(value: str) -> str:
    from tercet.inventory.sealing import parse_recipient  # noqa: PLC0415 - most inventories have none

    if re.fullmatch(_RECIPIENT, value):
        try:
            parse_recipient(value)
        except ValueError:
            pass
        else:
            return value
    raise wrong("a public key of age (age1…) or of SSH (ssh-ed25519 …)", "the output of `tercet takeover`")


Recipient = Annotated[str, AfterValidator(_recipient), Field(json_schema_extra={"pattern": f"^{_RECIPIENT}$"})]

Tag = Annotated[
    str,
    matching(
        rf"tag:{LABEL}",
        "a Tailscale tag, such as tag:tercet",
        lambda value: "tag:" + re.sub(r"[^a-z0-9]+", "-", value.lower().removeprefix("tag:")).strip("-"),
    ),
    Field(json_schema_extra={"pattern": f"^tag:{LABEL}$"}),
]

# Without the characters that RFC 3986 does not allow in a URL, and without a query, because it is a server's address.
Url = Annotated[
    str,
    matching(
        r"https?://[A-Za-z0-9._~:\[\]-]+(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?",
        "the URL of a server, such as https://headscale.example.org",
        lambda value: value if "://" in value else f"https://{value.strip()}",
    ),
]

Port = Annotated[int, Field(ge=1, le=65535)]


def _subnet(value: object) -> IPv4Network:
    if isinstance(value, IPv4Network):
        return value
    expected = "an IPv4 network, such as 10.77.1.0/24"
    if not isinstance(value, str):
        raise wrong(expected)
    try:
        return IPv4Network(value)
    except ValueError:
        pass
    try:
        mended = str(IPv4Network(value, strict=False))
    except ValueError:
        raise wrong(expected) from None
    raise wrong(f"{expected}, with no bits set after its prefix", mended)


Subnet = Annotated[
    IPv4Network,
    PlainValidator(_subnet),
    WithJsonSchema({"type": "string", "pattern": r"^\d+\.\d+\.\d+\.\d+/\d+$", "examples": ["10.77.1.0/24"]}),
]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)", re.ASCII)
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0}


def _seconds(value: object) -> float:
    expected = "a duration above zero: a number of seconds, or with a unit such as 500ms, 10s or 1m"
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        seconds = float(match[1]) * _UNIT[match[2]]
    else:
        raise wrong(expected)
    if not 0 < seconds < math.inf:
        raise wrong(expected)
    return seconds


Seconds = Annotated[
    float,
    PlainValidator(_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m)$"},
            ]
        }
    ),
]


def _setting(value: object) -> str | int | float | bool:
    expected = "one value: text on one line, a number, or true or false"
    if isinstance(value, float) and not math.isfinite(value):
        raise wrong(expected)
    if isinstance(value, str) and not value.isprintable():
        raise wrong(expected)
    if isinstance(value, str | int | float):
        return value
    raise wrong(expected)


Setting = Annotated[
    str | int | float | bool,
    PlainValidator(_setting),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]


def _source(*kinds: str) -> tuple[AfterValidator, Any]:
    expected = f"one of {', '.join(kinds)}, or path:FILE_OR_DIRECTORY"

    def check(value: str) -> str:
        if value in kinds or (value.startswith("path:") and value.removeprefix("path:").strip()):
            return value
        close = get_close_matches(value, kinds, n=1)
        looks_like_a_path = "/" in value and ":" not in value
        raise wrong(expected, f"path:{value}" if looks_like_a_path else close[0] if close else "auto")

    pattern = f"^({'|'.join(kinds)}|path:.+)$"
    return AfterValidator(check), Field(json_schema_extra={"pattern": pattern})


Source = Annotated[str, *_source("auto", "official", "go-module")]
PgcatSource = Annotated[str, *_source("auto", "oci-image")]
