"""The beginning of the program that is sent to a node: it makes modules from the sources that follow.

An interpreter that stays on the node (converge/persistent.py) makes each of them only once.
"""

from __future__ import annotations

import sys
from types import ModuleType


def load(sources: dict[str, str]) -> None:
    """`sources` maps each module's full name to its text. A module comes after those that it imports."""
    for name, source in sources.items():
        if name in sys.modules:
            continue
        module = ModuleType(name)
        exec(compile(source, f"{name}.py", "exec"), module.__dict__)
        sys.modules[name] = module
        package = name.rpartition(".")[0]
        sys.modules.setdefault(package, ModuleType(package))  # for `from package import module`
