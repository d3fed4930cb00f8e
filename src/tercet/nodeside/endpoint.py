"""Where an HTTP API is, and how its caller and it prove who they are: one description for the tool and for the programs
that run on nodes.

The tool makes all of them in components/endpoints.py. A program gets those that it asks in its configuration, as a JSON
object with the same fields.
"""

from __future__ import annotations

from typing import NamedTuple


class Endpoint(NamedTuple):
    """With https, `ca` and `certificate` are files of the node that asks, in PEM: the CA that the API's certificate
    must be from, where "" stands for all that the node trusts; and the caller's own certificate with its key.

    `authorization` is the value of the HTTP header of that name, such as "Bearer TOKEN". With `socket`, the API is at
    that Unix socket of the node, and the host is a name only.
    """

    host: str
    port: int
    scheme: str = "http"
    ca: str = ""
    certificate: str = ""
    authorization: str = ""
    socket: str = ""

    def __repr__(self) -> str:
        """Without what is secret."""
        return f"Endpoint({self.url('')!r})"

    def url(self, path: str) -> str:
        """For messages, and for programs that want a URL. `path` begins with a slash."""
        return f"{self.scheme}://{self.host}:{self.port}{path}"
