"""What of the agent goes in first: makes the modules of the sources that came with it.

An interpreter that stays on the node (converge/resident.py) has them from then on.
"""

from __future__ import annotations

import sys
from types import ModuleType


def load(sources: dict[str, str]) -> None:
    """`sources` maps each module's full name to its text; one comes after those that it imports."""
    for name, source in sources.items():
        if name in sys.modules:
            continue
        module = ModuleType(name)
        exec(compile(source, f"{name}.py", "exec"), module.__dict__)
        sys.modules[name] = module
        package = name.rpartition(".")[0]
        sys.modules.setdefault(package, ModuleType(package))  # for `from package import module`
