"""The address of an HTTP API, and how the API and its caller authenticate. The tool and the programs on nodes share it.

The tool makes all endpoints in components/endpoints.py. A program gets the endpoints that it uses in its configuration,
as JSON objects with the same fields.
"""

from __future__ import annotations

from typing import NamedTuple


class Endpoint(NamedTuple):
    """With https, `ca` and `certificate` are PEM files on the calling node: the CA that must have issued the API's
    certificate, or "" for all CAs that the node trusts; and the caller's own certificate with its key. `authorization`
    is the value of the HTTP header of that name, such as "Bearer TOKEN". With `socket`, the API listens on that Unix
    socket of the node, and the host is only a name.
    """

    host: str
    port: int
    scheme: str = "http"
    ca: str = ""
    certificate: str = ""
    authorization: str = ""
    socket: str = ""

    def __repr__(self) -> str:
        """Without secrets."""
        return f"Endpoint({self.url('')!r})"

    def url(self, path: str) -> str:
        """The URL, for messages and for programs that need one. `path` begins with a slash."""
        return f"{self.scheme}://{self.host}:{self.port}{path}"

    def curl(self, path: str) -> str:
        """The words for curl in a shell, which expands `$(…)` in them: the URL, and the CA if there is one. Without the
        caller's certificate.
        """
        return f'--cacert {self.ca} "{self.url(path)}"' if self.ca else f'"{self.url(path)}"'
