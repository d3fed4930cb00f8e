"""The dead-peer guard's rule and its own probe, done by a real kernel."""

from __future__ import annotations

from tercet.nodeside import guard

from .namespaces import Namespaces

# A node whose guard holds its peer for silent. It listens on its gossip port and on PostgreSQL's.
NODE = f"""
import socket, sys
sys.path.insert(0, {guard.__file__.removesuffix("/tercet/nodeside/guard.py")!r})
from tercet.nodeside import guard
peer = sys.argv[1]
listeners = [socket.create_server(("", port)) for port in (9301, 5432)]
guard.install_rule([9301], 2.0)
guard.renew({{peer}})
print("holds", peer, flush=True)
for port in sys.stdin:
    print(sorted(guard.silent_among([peer], int(port), 0.2)), flush=True)
"""


def test_two_that_hold_each_other_for_silent_find_each_other_again() -> None:
    """After a cut both sides do; a rule that stopped the answer to a probe would keep them apart for ever."""
    with Namespaces() as spaces:
        one, other = spaces.new(), spaces.new()
        spaces.join(one, other, 1)
        guards = [
            spaces.start(one, "python3", "-c", NODE, "10.9.1.2"),
            spaces.start(other, "python3", "-c", NODE, "10.9.1.1"),
        ]
        assert [spaces.line(process) for process in guards] == ["holds 10.9.1.2", "holds 10.9.1.1"]
        for process in guards:
            assert process.stdin is not None
            process.stdin.write("9301\n")
            process.stdin.flush()
            assert spaces.line(process) == "[]"
