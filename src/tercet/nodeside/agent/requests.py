"""Programs and HTTP requests, run in parallel. Each ends by its own deadline, whatever the other side does."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from tercet.nodeside.api import JSON, Api, ApiError
from tercet.nodeside.endpoint import Endpoint

OUTPUT_LIMIT = 1 << 20  # bytes of an answer's text that are kept; the rest is read and dropped
running: set[int] = set()  # process groups that were started and have not ended
starting = threading.RLock()  # held until a started program is in `running`


def answer(status: int, text: bytes = b"", error: str = "") -> dict[str, Any]:
    """An answer as it is sent: the output as text, with bytes that are not UTF-8 replaced."""
    if len(text) > OUTPUT_LIMIT:
        error = f"the output was cut after {OUTPUT_LIMIT} bytes\n{error}"
    return {"status": status, "text": text[:OUTPUT_LIMIT].decode(errors="replace"), "error": error}


def ask(requests: list[dict[str, Any]]) -> Callable[[], list[dict[str, Any]]]:
    """Start all requests at once. The returned function waits for the answers, which are in the same order."""
    answers = [answer(-1, error=f"no whole answer within {request['timeout']:g} s") for request in requests]

    def one(place: int, request: dict[str, Any]) -> None:
        data, timeout = b64decode(request["data"]), request["timeout"]
        if "argv" in request:
            answers[place] = execute(request["argv"], data, timeout)
        else:
            answers[place] = http(Endpoint(**request["endpoint"]), request["method"], request["path"], data, timeout)

    started = time.monotonic()
    threads = [threading.Thread(target=one, args=each, daemon=True) for each in enumerate(requests)]
    for thread in threads:
        thread.start()

    def wait() -> list[dict[str, Any]]:
        for thread, request in zip(threads, requests, strict=True):
            grace = 2.0 if "argv" in request else 0.0  # seconds to kill a program and collect its output
            thread.join(max(0.0, started + request["timeout"] + grace - time.monotonic()))
        return answers.copy()

    return wait


def execute(argv: list[str], stdin: bytes = b"", timeout: float = 5.0) -> dict[str, Any]:
    """Run a program until it exits; at the deadline, kill its process group.

    A child that it leaves in the background is not waited for, even if the child keeps the output open.
    """
    pipe = subprocess.PIPE
    # A file, so that this program does not wait until the other one reads its input.
    with open(os.memfd_create("stdin"), "w+b") as fed:
        fed.write(stdin)
        fed.seek(0)
        try:
            with starting:
                program = subprocess.Popen(argv, stdin=fed, stdout=pipe, stderr=pipe, start_new_session=True)
                running.add(program.pid)
        except OSError as error:
            return answer(-1, error=f"{argv[0]}: {error.strerror}")
    text, complaint, ended = collect(program, timeout)
    if not ended:
        os.killpg(program.pid, signal.SIGKILL)
    running.discard(program.pid)
    if not ended:
        return answer(-1, text, f"{argv[0]}: still running after {timeout:g} s, killed")
    status = program.wait()
    return answer(status if status >= 0 else 128 - status, text, complaint.decode(errors="replace"))


def collect(program: subprocess.Popen[bytes], timeout: float) -> tuple[bytes, bytes, bool]:
    """The output of a program until it ends or `timeout` seconds pass, and whether it ended."""
    deadline = time.monotonic() + timeout
    pipes = [pipe for pipe in (program.stdout, program.stderr) if pipe is not None]
    kept = {pipe.fileno(): bytearray() for pipe in pipes}
    waiting = select.poll()
    process = os.pidfd_open(program.pid)
    waiting.register(process, select.POLLIN)
    for fd in kept:
        os.set_blocking(fd, False)
        waiting.register(fd, select.POLLIN)
    ended = False
    while not ended and (left := deadline - time.monotonic()) > 0:
        ready = {fd for fd, _ in waiting.poll(left * 1000)}
        ended = process in ready
        for fd in kept.keys() & ready if not ended else kept.keys():
            if drain(fd, kept[fd]) and not ended:
                waiting.unregister(fd)
    os.close(process)
    for pipe in pipes:
        pipe.close()
    text, complaint = kept.values()
    return bytes(text), bytes(complaint), ended


def drain(fd: int, kept: bytearray) -> bool:
    """Read what a pipe holds now, and keep it up to the limit. True at the end of the pipe."""
    for _ in range(16):  # a pipe holds 64 KiB; a program that fills it as fast as it is read must not keep us here
        try:
            piece = os.read(fd, 1 << 16)
        except BlockingIOError:
            return False
        if not piece:
            return True
        kept += piece[: OUTPUT_LIMIT + 1 - len(kept)]
    return False


def http(at: Endpoint, method: str, path: str, body: bytes = b"", timeout: float = 2.0) -> dict[str, Any]:
    """Make one HTTP request."""
    api = Api(at, headers=JSON if body else {})
    try:
        reply = api.ask(method, path, body, timeout=timeout, limit=OUTPUT_LIMIT + 1)
    except ApiError as error:
        return answer(-1, error=f"{at.url(path)}: {error}")
    return answer(reply.status, reply.body)
