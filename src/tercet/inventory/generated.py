"""What tercet can generate for a component, as the component declares it: passwords and certificates.

Each is one or two texts in the platform's file of secrets; `keys` are their names there. See secrets.py.
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
    name: str

    @property
    def keys(self) -> tuple[str]:
        return (self.name,)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that vouches for one host and for nothing else. People read `title` in certificates."""

    name: str
    title: str
    host: str

    @property
    def keys(self) -> tuple[str, str]:
        return f"{self.name}_cert", f"{self.name}_key"


@dataclass(frozen=True, slots=True)
class Certificate:
    """The certificate of the host that an authority vouches for. The authority is declared before it."""

    name: str
    authority: Authority

    @property
    def keys(self) -> tuple[str, str]:
        return f"{self.name}_cert", f"{self.name}_key"


Secret = Password | Authority | Certificate
