"""What would make `up` fail later, found before: a list of checks, each with its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that `up` needs. `about` is a site or "all", `found` what is there, `remedy` empty if all is well."""

    about: str
    title: str
    state: State
    found: str = ""
    remedy: str = ""


def ok(about: str, title: str, found: str = "") -> Check:
    return Check(about, title, "ok", found)


def failed(about: str, title: str, found: str, remedy: str) -> Check:
    return Check(about, title, "failed", found, remedy)


def warning(about: str, title: str, found: str, remedy: str) -> Check:
    return Check(about, title, "warning", found, remedy)


def skipped(about: str, title: str, found: str) -> Check:
    return Check(about, title, "skipped", found)
