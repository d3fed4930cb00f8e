"""The client of one Proxmox server's API: logs in, reads, changes, and waits for tasks.

Invariants
- Every call ends within its time limits, and every failure is a TercetError that names the server.
- A read (GET) is retried if the connection failed, but not after a timeout, which has already used up the time. A
  change is never retried: if its response is lost, the error says that the change may have happened, and the next
  `tercet up` checks before it acts.
- No credential is in a URL, a message or a repr.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import httpx

from tercet.converge.fleet import Unreachable
from tercet.errors import TercetError
from tercet.providers.proxmox import tls
from tercet.providers.proxmox.declaration import ProxmoxHost

CONNECT_TIMEOUT = 6.0  # seconds
ANSWER_TIMEOUT = 60.0  # seconds: Proxmox itself waits 10 s for a guest's lock
TRIES = 3  # of a read
RETRY_AFTER = 0.3  # seconds, doubled each time
POLL_FIRST, POLL_LAST = 0.1, 1.0  # seconds between two polls of a task
LOST_FOR = 60.0  # seconds that a server may be silent while tercet waits for one of its tasks
LOG_LINES = 5
GATEWAY_ERRORS = frozenset({502, 503, 504, 595, 596, 599})  # Proxmox's proxy could not reach the node

Value = str | int | bool | None


class ApiError(TercetError):
    """The server refused the request. `status` is the HTTP status."""

    def __init__(self, message: str, status: int, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class NoAnswer(Unreachable):
    """The server could not be reached, or its answer was lost."""


class TaskFailed(TercetError):  # noqa: N818
    """A task of Proxmox ended in an error. `reason` is its exit status."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Login:
    """The headers that authenticate a request; for a password login, they include a cookie. Never shown."""

    headers: dict[str, str]

    def __repr__(self) -> str:
        return "Login()"


class Api:
    """The API of one server. `secret` is called at login, and returns the token's secret or the password."""

    def __init__(self, host: ProxmoxHost, secret: Callable[[], Awaitable[str]]) -> None:
        self.host = host
        self.name = urlsplit(host.api).netloc
        self._secret = secret
        self._session: Login | None = None
        self._login = asyncio.Lock()
        self._client_: httpx.AsyncClient | None = None
        self._context: ssl.SSLContext | None = None

    @property
    def is_root(self) -> bool:
        """Whether the login is root@pam with a password, the only login that may set a guest's devices."""
        return self.host.login == "root@pam"

    async def get(self, path: str, **params: Value) -> Any:
        """Read. Raises ApiError, NoAnswer."""
        return await self._ask("GET", path, params)

    async def post(self, path: str, **params: Value) -> Any:
        """Change. Raises ApiError, NoAnswer."""
        return await self._ask("POST", path, params)

    async def put(self, path: str, **params: Value) -> Any:
        return await self._ask("PUT", path, params)

    async def delete(self, path: str, **params: Value) -> Any:
        return await self._ask("DELETE", path, params)

    async def run(
        self, method: str, path: str, *, what: str, timeout: float, options: Mapping[str, Value] | None = None
    ) -> tuple[str, ...]:
        """Make a change that Proxmox carries out as a task, and wait until the task has ended. Returns its warnings.

        Raises TaskFailed if the task ends in an error, TercetError if it has not ended after `timeout` seconds, and
        ApiError or NoAnswer if it could not be started or followed.
        """
        upid = await self._ask(method, path, options or {})
        return await self.finish(upid, what, timeout) if isinstance(upid, str) else ()

    async def finish(self, upid: str, what: str, timeout: float) -> tuple[str, ...]:
        """Wait until the task has succeeded. Returns its warnings."""
        node = node_of(upid)
        deadline = time.monotonic() + timeout
        status = await self._ended(node, upid, what, deadline)
        if status == "OK":
            return ()
        log = await self._log(node, upid)
        if status.startswith("WARNINGS"):
            return tuple(line for line in log if "WARN" in line) or (f"{what}: {status}",)
        lines = "".join(f"\n    {line}" for line in log)
        raise TaskFailed(
            f"{what}: the task on {node} ({self.name}) ended in an error: {status}{lines}\n"
            "  What was done before stays as it is; put the cause right and run `tercet up` again",
            status,
        )

    async def _ended(self, node: str, upid: str, what: str, deadline: float) -> str:
        """Wait for the task to end, and return its exit status. Tolerates a server that is silent for a while."""
        pause, heard = POLL_FIRST, time.monotonic()
        while True:
            try:
                state = await self.get(f"/nodes/{node}/tasks/{upid}/status")
                heard = time.monotonic()
                if state.get("status") != "running":
                    return str(state.get("exitstatus", "unknown"))
            except NoAnswer as error:
                if time.monotonic() > min(deadline, heard + LOST_FOR):
                    raise NoAnswer(
                        f"{what}: {self.name} went silent while the task ran, and it may have gone on: {upid}\n"
                        f"  {error}\n  When the server is back, run `tercet up` again: it looks at what exists"
                    ) from error
            if time.monotonic() > deadline:
                raise TercetError(
                    f"{what}: expected the task on {node} ({self.name}) to end in time, found it still running: {upid}"
                    "\n  See its log in the Proxmox interface; once it has ended, run `tercet up` again"
                )
            await asyncio.sleep(pause)
            pause = min(POLL_LAST, pause * 1.5)

    async def _log(self, node: str, upid: str) -> list[str]:
        """The last lines of a task's log, if they can be read."""
        try:
            lines = await self.get(f"/nodes/{node}/tasks/{upid}/log", limit=500)
        except TercetError:
            return []
        return [str(line.get("t", "")) for line in lines if line.get("t")][-LOG_LINES:]

    async def upload(self, path: str, fields: Mapping[str, str], name: str, file: BinaryIO) -> str:
        """Send a file in Proxmox's upload form. Returns the ID of the task that stores it. Never retried."""
        files = {"filename": (name, file, "application/octet-stream")}
        response = await self._send("POST", path, None, data=dict(fields), files=files)
        return str(self._data("POST", path, response))

    async def close(self) -> None:
        """Close the connections."""
        if self._client_ is not None:
            await self._client_.aclose()
            self._client_ = None

    # ------------------------------------------------------------------------------------------ one request

    async def _ask(self, method: str, path: str, params: Mapping[str, Value]) -> Any:
        values = {key.replace("_", "-"): _plain(value) for key, value in params.items() if value is not None}
        for attempt in range(TRIES):
            try:
                response = await self._send(method, path, values)
                if response.status_code not in GATEWAY_ERRORS:
                    return self._data(method, path, response)
                failed = self._behind(method, path, response)
            except NoAnswer as error:
                if isinstance(error.__cause__, httpx.TimeoutException):
                    raise
                failed = error
            if method != "GET" or attempt == TRIES - 1:
                break
            await asyncio.sleep(RETRY_AFTER * 2**attempt)
        raise failed

    async def _send(self, method: str, path: str, values: Mapping[str, str] | None, **content: Any) -> httpx.Response:
        """Send one request as the logged-in user. An expired ticket is replaced once."""
        for fresh in (False, True):
            session = await self._logged_in(fresh=fresh)
            response = await self._exchange(method, path, values, session, **content)
            if response.status_code != httpx.codes.UNAUTHORIZED or "Authorization" in session.headers or content:
                break
        return response

    async def _exchange(
        self, method: str, path: str, values: Mapping[str, str] | None, session: Login | None, **content: Any
    ) -> httpx.Response:
        client = await self._client()
        query = {"params": values} if method in ("GET", "DELETE") else {"data": values}
        headers = session.headers if session else {}
        try:
            return await client.request(method, f"/api2/json{path}", headers=headers, **(content or query))
        except httpx.TransportError as error:
            raise await self._lost(method, path, error) from error

    def _data(self, method: str, path: str, response: httpx.Response) -> Any:
        """The data in the response. Raises ApiError if the server refused the request."""
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.is_success and isinstance(body, dict):
            return body.get("data")
        reason = response.reason_phrase.strip() or "no reason given"
        if isinstance(body, dict):
            reason = str(body.get("message") or reason).strip()
            fields = body.get("errors") or {}
            reason += "".join(f"; {name}: {str(text).strip()}" for name, text in fields.items())
        if response.is_success:
            reason = "an answer that is not JSON; is there a Proxmox server at this address?"
        status = response.status_code
        raise ApiError(
            f"{self.name} refused {method} {path} ({status}): {reason}{self._remedy(status)}", status, reason
        )

    def _behind(self, method: str, path: str, response: httpx.Response) -> NoAnswer:
        """The error if the server answers, but the node to which it forwards the request does not."""
        said = f"{response.status_code} {response.reason_phrase}".strip()
        text = f"{self.name} got no answer to {method} {path} from the node behind it ({said})"
        return NoAnswer(f"{text}{_state(method)}")

    def _remedy(self, status: int) -> str:
        if status == httpx.codes.UNAUTHORIZED:
            return f"\n  Look at `login` ({self.host.login}) and where `secret` comes from ({_kind(self.host.secret)})"
        if status == httpx.codes.FORBIDDEN:
            return "\n  `tercet doctor` lists every permission that is missing, with the command that grants it"
        return ""

    # ---------------------------------------------------------------------------------------------- log in

    async def _logged_in(self, *, fresh: bool) -> Login:
        before = self._session
        async with self._login:
            if self._session is None or (fresh and self._session is before):
                self._session = await self._log_in()
            return self._session

    async def _log_in(self) -> Login:
        secret = await self._secret()
        login = self.host.login
        if "!" in login:
            return Login({"Authorization": f"PVEAPIToken={login}={secret}"})
        values = {"username": login, "password": secret}
        try:
            response = await self._exchange("POST", "/access/ticket", values, None)
            data = self._data("POST", "/access/ticket", response)
        except ApiError as error:
            raise ApiError(
                f"expected {self.name} to let {login} in, found: {error.reason}{self._remedy(error.status)}",
                error.status,
                error.reason,
            ) from None
        if data.get("NeedTFA"):
            raise TercetError(
                f"expected {self.name} to let {login} in with a password, found that it wants a second factor: "
                "make an API token and use it as `login` (USER@REALM!TOKEN)"
            )
        return Login(
            {"Cookie": f"PVEAuthCookie={data['ticket']}", "CSRFPreventionToken": str(data["CSRFPreventionToken"])}
        )

    # --------------------------------------------------------------------------------------- the connection

    async def _client(self) -> httpx.AsyncClient:
        if self._client_ is None:
            host = self.host
            self._context = tls.pinned(host.fingerprint) if host.fingerprint else tls.signed(host.ca)
            self._client_ = httpx.AsyncClient(
                base_url=host.api,
                verify=self._context,
                trust_env=False,
                timeout=httpx.Timeout(ANSWER_TIMEOUT, connect=CONNECT_TIMEOUT, pool=ANSWER_TIMEOUT),
                # Proxmox closes connections that are idle for 5 s; a change must not be sent on a closed connection.
                limits=httpx.Limits(max_connections=8, keepalive_expiry=3.0),
            )
        return self._client_

    async def _lost(self, method: str, path: str, error: httpx.TransportError) -> TercetError:
        """The error for a failed exchange, in the operator's terms."""
        if isinstance(self._context, tls.PinnedContext) and self._context.shown:
            shown, self._context.shown = self._context.shown, None
            return TercetError(
                f"expected the API at {self.name} to show the certificate with the fingerprint\n"
                f"    {self.host.fingerprint}\n  found\n    {shown}\n"
                "  Nothing was sent. If the certificate was renewed, compare with `pvenode cert info` on the server "
                "and write the new one at `fingerprint`; otherwise someone intercepts the connection"
            )
        if (reason := _distrust(error)) is not None:
            return await self._untrusted(reason)
        said = str(error) or type(error).__name__
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            return NoAnswer(
                f"expected the Proxmox API at {self.name}, found no answer ({said}): "
                "is the server up, and can this machine reach it? Nothing was changed by this request"
            )
        return NoAnswer(f"{self.name} was reached, but its answer to {method} {path} was lost ({said}){_state(method)}")

    async def _untrusted(self, reason: str) -> TercetError:
        parts = urlsplit(self.host.api)
        found = await tls.shown_fingerprint(parts.hostname or "", parts.port or 443, CONNECT_TIMEOUT)
        who = f"the authority in {self.host.ca}" if self.host.ca else "one of the system's authorities"
        pin = f"\n    fingerprint: {found}" if found else ""
        return TercetError(
            f"expected the API at {self.name} to show a certificate that {who} signed, found: {reason}. "
            "Nothing was sent\n  Compare with `pvenode cert info` on the server; if this is its certificate, pin it "
            f"in the inventory:{pin}"
        )


@asynccontextmanager
async def connected(host: ProxmoxHost, secret: Callable[[], Awaitable[str]]) -> AsyncIterator[Api]:
    """An API that is closed at the end of the block."""
    api = Api(host, secret)
    try:
        yield api
    finally:
        await api.close()


def node_of(upid: str) -> str:
    """The node that carries out a task."""
    return _parts(upid)[1]


def user_of(upid: str) -> str:
    """The login that started a task."""
    return _parts(upid)[7]


def _parts(upid: str) -> list[str]:
    """UPID:NODE:PID:PSTART:START:TYPE:ID:USER:"""
    parts = upid.split(":")
    if len(parts) < 9 or parts[0] != "UPID":
        raise TercetError(f"expected the id of a Proxmox task (UPID:…), found {upid[:80]!r}")
    return parts


def _state(method: str) -> str:
    """The end of the message for a request whose response was lost."""
    return "" if method == "GET" else ". It may or may not have been carried out: run `tercet up` again, it looks"


def _plain(value: Value) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _kind(source: str) -> str:
    """The source of a credential, without the words of a command, which may contain secrets."""
    return "command" if source.startswith("command:") else source


def _distrust(error: BaseException) -> str | None:
    """The reason why a certificate was rejected, from the exception's chain of causes."""
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, ssl.SSLCertVerificationError):
            return current.verify_message or str(current)
        current = current.__cause__ or current.__context__
    return None
