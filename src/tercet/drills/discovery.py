"""Folders whose files register themselves: the promises (promise.py) and the kinds of faults (scenario/fault.py)."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache


@cache
def discover(package: str) -> None:
    """Import every module of a package, so that each registers its contents."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
