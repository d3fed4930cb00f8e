"""Checks for problems that would make `up` fail later, each with its remedy."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import Literal

HERE = "this machine"

State = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """A requirement of `up`. `about` is a site or "all"; `found` is the current state; `remedy` is empty if met."""

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


def program(name: str, package: str) -> Check:
    """Check that a program is installed on this machine."""
    if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        return ok(HERE, name)
    return failed(HERE, name, "not installed", f"apt install {package}, or run scripts/host-packages lab")
