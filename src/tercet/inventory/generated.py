"""The secrets that a component can declare and tercet generates: passwords and certificates.

Each is one or two texts in the platform's file of secrets, under the names `keys`. See secrets.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Password:
    """`live`: `apply` brings another value into force on a running platform."""

    name: str
    live: bool = False

    @property
    def keys(self) -> tuple[str]:
        return (self.name,)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that may sign only for one host and the names below it ("": for any). `title` is its name
    in certificates. `live`: `apply` brings another one into force on a running platform.

    While it is replaced, the file also has the following one (`next_keys`), and then the certificate of the former one
    (`former_key`).
    """

    name: str
    title: str
    host: str
    live: bool = False

    @property
    def keys(self) -> tuple[str, str]:
        return f"{self.name}_cert", f"{self.name}_key"

    @property
    def next_keys(self) -> tuple[str, str]:
        return f"{self.name}_next_cert", f"{self.name}_next_key"

    @property
    def former_key(self) -> str:
        return f"{self.name}_former_cert"


@dataclass(frozen=True, slots=True)
class Certificate:
    """The certificate of the host for which an authority may sign. The authority must be declared before it."""

    name: str
    authority: Authority

    @property
    def keys(self) -> tuple[str, str]:
        return f"{self.name}_cert", f"{self.name}_key"


Secret = Password | Authority | Certificate
