"""What of the agent goes in first: makes its other modules from their sources.

They are compiled once after a node's boot: compiling takes 0.01 s of a core, a third of an empty look, and every look
at the platform is ten of them. What is compiled is kept in root's own /run/tercet, which is there once anything was
changed on the node: a look at a node that is nobody's yet leaves nothing behind.
"""

from __future__ import annotations

import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is slow to import
    from types import CodeType

PACKAGE = "tercet.nodeside.agent"
KEPT = "/run/tercet/agent"
agent = sys.modules.setdefault(PACKAGE, type(sys)(PACKAGE))


def load(key: str, sources: dict[str, str]) -> None:
    """Make those modules that an interpreter which was asked before does not have yet. `key` names the sources."""
    new = [name for name in sources if getattr(getattr(agent, name, None), "source", "") != sources[name]]
    codes = compiled(key, sources) if new else {}
    for name in new:
        module = sys.modules[f"{PACKAGE}.{name}"] = type(sys)(name)
        module.__dict__["source"] = sources[name]
        exec(codes[name], module.__dict__)
        setattr(agent, name, module)


def compiled(key: str, sources: dict[str, str]) -> dict[str, CodeType]:
    """The modules' code: kept from an earlier time, or compiled now and kept."""
    path = f"{KEPT}-{key}.{sys.implementation.cache_tag}"
    try:
        with open(path, "rb") as file:
            kept = marshal.load(file)
        return {name: kept[name] for name in sources}
    except (OSError, EOFError, ValueError, TypeError, KeyError):  # absent, or no longer what was written
        codes = {name: compile(source, name, "exec") for name, source in sources.items()}
    try:
        with open(f"{path}.{posix.getpid()}", "wb") as file:
            marshal.dump(codes, file)
        posix.replace(f"{path}.{posix.getpid()}", path)  # whole or not at all, whoever else does the same
    except OSError:  # there is no such folder yet, or no room: then it is compiled anew next time
        pass
    return codes
