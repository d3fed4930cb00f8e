"""The files with which a node proves to be a member, and knows the other members, in TLS connections.

The certificate and its key are derived from the authority's (inventory/certificates.py), and are in one file, so that
they always belong to each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tercet.components.context import Context
from tercet.converge.requests import Answer, Deferred
from tercet.converge.resources import Directory, File
from tercet.errors import TercetError
from tercet.inventory.generated import Authority, Pair
from tercet.inventory.secrets import STAND_IN

LOOPBACK = "127.0.0.1"
"""The address of an API that only its own node may use. It is one of the names in the certificate of each member."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a program finds the files."""

    path: str

    @property
    def ca(self) -> str:
        return f"{self.path}/ca.pem"

    @property
    def node(self) -> str:
        """The node's certificate and its key."""
        return f"{self.path}/node.pem"


@dataclass(frozen=True, slots=True)
class Member:
    """A node as a member, with its host names and addresses. It renders its file. Unlike a lambda, it is equal to
    itself: two units of a node may want the same file.
    """

    context: Context
    authority: Authority
    names: tuple[str, ...]

    def __call__(self, _answers: Mapping[str, Answer]) -> bytes:
        pair = self.pair()
        return (pair.certificate + pair.key).encode()  # Nomad takes the first block for the certificate

    def pair(self) -> Pair:
        """Raises LookupError before the secrets are made, and TercetError if they are broken."""
        from tercet.inventory.certificates import derived  # noqa: PLC0415 - the library takes long to import

        authority = self.context.secrets.pair(self.authority)
        if authority.key == STAND_IN:
            raise LookupError("there are no secrets yet")
        try:
            return derived(self.names, authority)
        except ValueError:
            one, other = self.authority.keys
            raise TercetError(
                f"expected a certificate and its key, both PEM, in {one} and {other} of the platform's secrets, found "
                "something else: restore the file from your copy. Nothing was changed"
            ) from None

    def files(self, folder: Folder, user: str) -> Iterable[Directory | File]:
        """`user` is who the program runs as; nobody else but root can read the key. Everybody can read the authority's
        certificate, which clients need.
        """
        yield Directory(folder.path, owner=user, purge=True)
        yield File(folder.ca, self.context.secrets.trusted(self.authority).encode())
        yield File(folder.node, Deferred("the secrets are made", {}, self), mode=0o600, owner=user, secret=True)


def keys_of(members: Mapping[str, Member]) -> dict[str, str]:
    """The key of each member, by the same names; empty before the secrets are made."""
    try:
        return {name: member.pair().key for name, member in members.items()}
    except LookupError:
        return {}
