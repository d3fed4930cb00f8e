"""A process whose main thread is stopped answers on, and goes on when the program that stopped it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tercet.inventory.certificates import derived, make_authority
from tercet.nodeside import hold_thread

PATRONI = """
import http.server, ssl, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
while True:
    open(sys.argv[1], "a").write("1")
    time.sleep(0.02)
"""


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_loop_stops_while_the_api_answers(tmp_path: Path, end: signal.Signals) -> None:
    turns, node = tmp_path / "turns", tmp_path / "node.pem"
    pair = derived(("db-sib-01",), make_authority("tercet PostgreSQL", ""))
    node.write_text(pair.certificate + pair.key)
    words = [sys.executable, "-c", PATRONI, str(turns), str(node)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        argv = [sys.executable, "-I", hold_thread.__file__, str(process.pid), "127.0.0.1", str(port)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout and "its API answers" in holder.stdout.readline()
            before = turns.stat().st_size
            time.sleep(1)
            assert turns.stat().st_size == before
            assert hold_thread.answers("127.0.0.1", port)
            holder.send_signal(end)
        deadline = time.monotonic() + 60
        while turns.stat().st_size == before:
            assert time.monotonic() < deadline, "its loop goes on"
            time.sleep(0.05)
        process.kill()


def test_a_process_that_is_gone_is_an_error() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    done = subprocess.run(
        [sys.executable, "-I", hold_thread.__file__, str(process.pid), "127.0.0.1", "9"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ptrace: No such process" in done.stderr
