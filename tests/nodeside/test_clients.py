"""The kernel refuses the client for whom pgpool has no process, and no other."""

from __future__ import annotations

import sys

from tercet.components.proxy.pgpool import CLIENTS, _limit

from .namespaces import Namespaces

# Prints for each client whether it gets through, while more and more of them stay; then how it is when some have left.
TRY = """
import socket, sys, time
clients = int(sys.argv[1])
listener, held = socket.create_server(("127.0.0.1", 5432), backlog=99), []
def enters():
    try:
        held.append((socket.create_connection(("127.0.0.1", 5432), timeout=30), listener.accept()[0]))
        return True
    except ConnectionRefusedError:
        return False
print([enters() for _ in range(clients + 3)].count(True), any(enters() for _ in range(2000)))
for pair in held[:2]:
    for end in pair:
        end.close()
ends = time.monotonic() + 60
while not enters() and time.monotonic() < ends:  # the kernel needs a moment to see that they have left
    time.sleep(0.01)
print(enters(), enters())
"""


def test_a_client_is_refused_while_all_places_are_taken() -> None:
    with Namespaces() as namespaces:
        node = namespaces.new()
        rules = _limit(5432).decode()
        for _ in range(2):  # each start of pgpool writes them anew
            namespaces.run(node, f"nft -f - <<'END'\n{rules}\nEND")
        out, err = namespaces.start(node, sys.executable, "-c", TRY, str(CLIENTS)).communicate(timeout=120)
        assert out.splitlines() == [f"{CLIENTS} False", "True False"], err
