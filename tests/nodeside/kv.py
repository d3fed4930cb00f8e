"""A `dcs` agent's key-value store: values, locks, blocking queries and transactions, as the daemons use them."""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tercet.nodeside.endpoint import Endpoint

from .delivery import loopback


class Store(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.keys: dict[str, dict[str, Any]] = {}
        self.index = 1
        self.destroyed: list[str] = []
        self.changed = threading.Condition()
        self.silent = False  # it answers 500
        self.patroni: dict[str, Any] = {}  # what the node's own Patroni answers

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that stopped waiting is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def endpoint(self) -> Endpoint:
        return loopback(self.server_address[1])

    def put(self, key: str, value: str, session: str = "") -> None:
        with self.changed:
            self.index += 1
            created = self.keys.get(key, {}).get("CreateIndex", self.index)
            self.keys[key] = {
                "Key": key,
                "Value": base64.b64encode(value.encode()).decode(),
                "CreateIndex": created,
                "ModifyIndex": self.index,
                **({"Session": session} if session else {}),
            }
            self.changed.notify_all()

    def delete(self, key: str) -> None:
        with self.changed:
            self.index += 1
            self.keys.pop(key, None)
            self.changed.notify_all()

    def text(self, key: str) -> str:
        return base64.b64decode(self.keys[key]["Value"]).decode()


class Handler(BaseHTTPRequestHandler):
    server: Store

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        if parts.path == "/patroni":
            return self._answer(200, json.dumps(self.server.patroni).encode())
        if self.server.silent:
            return self._answer(500, b"No cluster leader")
        key = parts.path.removeprefix("/v1/kv/")
        with self.server.changed:
            if "index" in query:
                seen = int(query["index"][0])
                self.server.changed.wait_for(
                    lambda: self.server.index != seen, float(query["wait"][0].removesuffix("ms")) / 1000
                )
            if "recurse" in query:
                found = [entry for name, entry in sorted(self.server.keys.items()) if name.startswith(key)]
            else:
                found = [self.server.keys[key]] if key in self.server.keys else []
        if not found:
            return self._answer(404, b"")
        raw = base64.b64decode(found[0]["Value"]) if "raw" in query else json.dumps(found).encode()
        return self._answer(200, raw)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self.server.silent:
            return self._answer(500, b"No cluster leader")
        if self.path.startswith("/v1/session/destroy/"):
            self.server.destroyed.append(self.path.rpartition("/")[2])
        elif self.path == "/v1/txn":
            return self._transaction(json.loads(body))
        else:
            self.server.put(self.path.removeprefix("/v1/kv/"), body)
        return self._answer(200, b"true")

    def _transaction(self, changes: list[dict[str, Any]]) -> None:
        """As Consul does: all of it or nothing."""
        operations = [change["KV"] for change in changes]
        keys = self.server.keys
        holds = {
            "check-session": lambda key: keys.get(key["Key"], {}).get("Session") == key["Session"],
            "cas": lambda key: keys.get(key["Key"], {}).get("ModifyIndex", 0) == key["Index"],
            "get": lambda key: key["Key"] in keys,
            "set": lambda _: True,
        }
        if not all(holds[key["Verb"]](key) for key in operations):
            return self._answer(409, b'{"Errors": []}')
        for key in operations:
            if key["Verb"] in ("cas", "set"):
                self.server.put(key["Key"], base64.b64decode(key["Value"]).decode())
        found = [
            {"KV": {**keys[key["Key"]], **({} if key["Verb"] == "get" else {"Value": None})}} for key in operations
        ]
        return self._answer(200, json.dumps({"Results": found}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("X-Consul-Index", str(self.server.index))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def store() -> Iterator[Store]:
    with Store() as found:
        serving = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield found
        finally:
            found.shutdown()
            serving.join()
