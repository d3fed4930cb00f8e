"""The tailnet outside the lab: makes the key with which new nodes join, and removes destroyed nodes.

The operator gives either a key (`tailnet.auth_key`) or a credential for the API of the control server
(`tailnet.api_key`). With the credential, tercet makes a key that is valid for ten minutes, and later removes the nodes.
The control server is Tailscale's own, or the operator's headscale if `tailnet.login_server` is set.

Invariant: no credential is in a message, a repr or an argument list.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import httpx

from tercet.converge.events import Emit, Event
from tercet.errors import TercetError
from tercet.inventory.credentials import read_credential
from tercet.inventory.model import TailnetModel

TAILSCALE_API = "https://api.tailscale.com"
OAUTH_SECRET = "tskey-client-"  # noqa: S105 - how Tailscale's OAuth client secrets begin
KEY_SECONDS = 600
TIMEOUT = 15.0  # seconds for a request
PHASE = "tailnet"


@dataclass(frozen=True, slots=True)
class Member:
    """A node as the control server lists it."""

    id: str
    hostname: str
    addresses: frozenset[str]


@dataclass(frozen=True)
class ControlPlane:
    """The control server with the settings of the inventory. `api` is the address of Tailscale's API."""

    settings: TailnetModel
    api: str = TAILSCALE_API
    transport: httpx.BaseTransport | None = field(default=None, repr=False)

    @cached_property
    def key(self) -> bytes:
        """The key with which nodes join. It is made once and is the same for every node.

        Raises TercetError if the inventory's credential cannot be read or the control server refuses.
        """
        if self.settings.api_key is not None:
            return self._made_key().encode()
        if self.settings.auth_key is None:
            raise TercetError("expected `tailnet.auth_key` or `tailnet.api_key` in the inventory, found neither")
        return read_credential(self.settings.auth_key, "auth key of the tailnet").encode()

    @property
    def can_remove(self) -> bool:
        """Whether the inventory's credentials allow nodes to be removed."""
        return self.settings.api_key is not None

    def members(self) -> tuple[Member, ...]:
        """Every node of the tailnet. Raises TercetError."""
        with self._control() as ask:
            if self.settings.login_server is None:
                listed = ask("GET", "/api/v2/tailnet/-/devices", None).get("devices") or []
                return tuple(_member(item, "id", "hostname", "addresses") for item in listed)
            listed = ask("GET", "/api/v1/node", None).get("nodes") or []
            return tuple(_member(item, "id", "name", "ipAddresses") for item in listed)

    def check_keys(self) -> None:
        """List the existing keys, which needs the permission for keys. Raises TercetError if it is missing."""
        with self._control() as ask:
            ask("GET", "/api/v2/tailnet/-/keys" if self.settings.login_server is None else "/api/v1/preauthkey", None)

    def remove(self, nodes: Mapping[str, str]) -> tuple[str, ...]:
        """Remove the nodes with these hostnames and these addresses. Returns the names of the removed nodes.

        Both must match: another platform in the same tailnet may have nodes of the same name.
        """
        gone = [each for each in self.members() if nodes.get(each.hostname) in each.addresses]
        with self._control() as ask:
            for each in gone:
                place = "/api/v2/device" if self.settings.login_server is None else "/api/v1/node"
                ask("DELETE", f"{place}/{each.id}", None)
        return tuple(each.hostname for each in gone)

    def expire(self, nodes: Mapping[str, Collection[str]]) -> tuple[str, ...]:
        """Log out the nodes with these hostnames that have one of these addresses. Returns the names of these nodes.

        A removed node does not learn of its removal if it was cut off at that time: it keeps using the peers that it
        remembers (seen with headscale 0.29: for as long as it ran). A node whose key has expired learns this at its
        next request to the control server, and logs itself out. Raises TercetError.
        """
        found = [each for each in self.members() if each.addresses & set(nodes.get(each.hostname, ()))]
        with self._control() as ask:
            for each in found:
                place = "/api/v2/device" if self.settings.login_server is None else "/api/v1/node"
                ask("POST", f"{place}/{each.id}/expire", None)
        return tuple(each.hostname for each in found)

    def _made_key(self) -> str:
        """A key that is valid for ten minutes and for several nodes, and gives them the tag."""
        tag = self.settings.tag
        with self._control() as ask:
            if self.settings.login_server is None:
                create = {"reusable": True, "ephemeral": False, "preauthorized": True, "tags": [tag]}
                body = {"capabilities": {"devices": {"create": create}}, "expirySeconds": KEY_SECONDS}
                made = ask("POST", "/api/v2/tailnet/-/keys", body).get("key")
            else:
                expires = (datetime.now(UTC) + timedelta(seconds=KEY_SECONDS)).strftime("%Y-%m-%dT%H:%M:%SZ")
                body = {"reusable": True, "ephemeral": False, "expiration": expires, "aclTags": [tag]}
                made = (ask("POST", "/api/v1/preauthkey", body).get("preAuthKey") or {}).get("key")
        if not isinstance(made, str) or not made:
            raise TercetError(f"expected a key for nodes tagged {tag} from {self._server}, found none in its answer")
        return made

    @property
    def _server(self) -> str:
        return self.settings.login_server or self.api

    @contextmanager
    def _control(self) -> Iterator[Callable[[str, str, object], dict[str, Any]]]:
        """The control server's API, logged in."""
        if self.settings.api_key is None:
            raise TercetError("expected `tailnet.api_key` in the inventory, found none")
        secret = read_credential(self.settings.api_key, "API key of the tailnet")
        with httpx.Client(
            base_url=self._server, timeout=TIMEOUT, verify=self._trust(), trust_env=False, transport=self.transport
        ) as client:

            def ask(method: str, path: str, body: object) -> dict[str, Any]:
                return self._answer(client, method, path, headers={"Authorization": f"Bearer {token}"}, json=body)

            token = secret
            if self.settings.login_server is None and secret.startswith(OAUTH_SECRET):
                form = {"client_id": "tercet", "client_secret": secret, "grant_type": "client_credentials"}
                token = str(self._answer(client, "POST", "/api/v2/oauth/token", data=form).get("access_token", ""))
            yield ask

    def _answer(self, client: httpx.Client, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            response = client.request(method, path, **options)
        except httpx.TransportError as error:
            raise TercetError(
                f"expected the tailnet's control server at {self._server}, found: {error}. Can this machine reach it"
                f"{', and is `tailnet.ca` the authority that signed its certificate' if _tls(error) else ''}?"
            ) from None
        try:
            body = response.json()
        except ValueError:
            body = {}
        if response.is_success:
            return body if isinstance(body, dict) else {}
        said = body.get("message") if isinstance(body, dict) else None
        raise TercetError(
            f"expected the tailnet's control server at {self._server} to accept {method} {path}, found "
            f"{response.status_code} ({said or response.reason_phrase}). Look at `tailnet.api_key`: at Tailscale it "
            f"needs the scopes auth_keys and devices:core, and {self.settings.tag}"
        )

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=str(self.settings.ca) if self.settings.ca else None)
        except (OSError, ssl.SSLError):
            raise TercetError(
                f"expected the certificate of an authority (PEM) in {self.settings.ca}, found none: put `tailnet.ca` "
                "right"
            ) from None


async def check(tailnet: ControlPlane) -> None:
    """Raise TercetError if the nodes could not be removed from the tailnet later, when they no longer report their
    addresses.
    """
    if not tailnet.can_remove:
        return
    try:
        await asyncio.to_thread(tailnet.members)
    except TercetError as error:
        raise TercetError(
            f"{error}\n  Nothing was destroyed, because the nodes could not be removed from the tailnet afterwards. "
            "To do without that, replace `tailnet.api_key` by a `tailnet.auth_key`"
        ) from error


async def leave(tailnet: ControlPlane, nodes: Mapping[str, str], unknown: Sequence[str], emit: Emit) -> None:
    """Remove destroyed nodes from the tailnet if the credentials allow it; otherwise report what is left.

    `nodes` maps names to tailnet addresses; the addresses of the `unknown` nodes could no longer be read.
    """
    if not nodes and not unknown:
        return
    if not tailnet.can_remove:
        names = ", ".join((*nodes, *unknown))
        text = f"still listed at the tailnet's control server, because there is no `tailnet.api_key`: {names}"
        emit(Event(PHASE, "done", text))
        return
    emit(Event(PHASE, "started", f"remove {len(nodes)} nodes from the tailnet"))
    try:
        removed = await asyncio.to_thread(tailnet.remove, nodes) if nodes else ()
    except TercetError as error:
        names = ", ".join((*(f"{name} ({address})" for name, address in nodes.items()), *unknown))
        raise TercetError(
            f"{error}\n  The containers are destroyed; remove what the tailnet still lists of them there: {names}"
        ) from error
    unlisted = sorted(nodes.keys() - set(removed))
    rest = f"; not listed there: {', '.join(unlisted)}" if unlisted else ""
    if unknown:
        rest += f"; look for {', '.join(sorted(unknown))} there yourself, because their addresses are unknown"
    emit(Event(PHASE, "done", f"{len(removed)} nodes removed from the tailnet{rest}"))


def _member(item: Mapping[str, Any], key: str, name: str, addresses: str) -> Member:
    return Member(str(item.get(key, "")), str(item.get(name, "")), frozenset(map(str, item.get(addresses) or ())))


def _tls(error: httpx.TransportError) -> bool:
    return "certificate" in str(error).lower()
