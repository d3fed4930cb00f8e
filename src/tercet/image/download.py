"""Downloads that can be continued, stop if no data arrives, and are returned only with the right digest.

Invariant: a path that `file` returns has exactly the bytes of the given digest. A part on the disk has the digest in
its name, so it is only continued with the same content.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import httpx

from tercet.errors import TercetError
from tercet.image.progress import Progress
from tercet.image.sources.source import Unavailable

CONNECT = 3.0  # seconds to reach a host; `auto` must not cost more if there is no internet
STALL = 30.0  # seconds without a byte
TRIES = 4  # connections for one file; each continues where the previous one stopped
SMALL = 4 << 20  # bytes; checksum files, signatures and manifests are much smaller
MEGABYTE = 1_000_000


class Downloads:
    """HTTP for all sources of one run. A host that cannot be reached is tried only once."""

    def __init__(self, folder: Path, *, connect: float = CONNECT, stall: float = STALL) -> None:
        self._folder = folder
        self._stall = stall
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(stall, connect=connect, pool=None), follow_redirects=True
        )
        self._gates: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unreachable: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def small(
        self, url: str, headers: Mapping[str, str] | None = None, accept: tuple[int, ...] = ()
    ) -> httpx.Response:
        """A complete checksum file, signature or manifest, with its headers. Raises Unavailable.

        `accept` has error statuses that are returned to the caller.
        """
        async with self._open(url, headers or {}, accept) as response:
            content = bytearray()
            async for chunk in self._chunks(response):
                content += chunk
                if len(content) > SMALL:
                    raise TercetError(f"{url} should be a small file, but is larger than {SMALL} bytes")
            return httpx.Response(response.status_code, headers=_plain(response.headers), content=bytes(content))

    async def file(self, url: str, sha256: str, progress: Progress, headers: Mapping[str, str] | None = None) -> Path:
        """The verified file at `url`. Raises Unavailable, or TercetError if the content is wrong."""
        name = f"{sha256[:16]}-{url.rsplit('/', 1)[-1].replace(':', '-')}"
        path, part = self._folder / name, self._folder / f"{name}.part"
        if await asyncio.to_thread(_has_digest, path, sha256):
            return path
        self._folder.mkdir(parents=True, exist_ok=True)
        if not await asyncio.to_thread(_has_digest, part, sha256):
            await self._fill(url, part, progress, headers or {})
            if not await asyncio.to_thread(_has_digest, part, sha256):
                bad = part.rename(self._folder / f"{name}.bad")
                raise TercetError(
                    f"{url} should have the sha256 {sha256}, but what came has {_digest(bad)}; it was set aside "
                    f"as {bad}. Run again to download it again; if the error remains, do not use this source"
                )
        return part.rename(path)

    async def _fill(self, url: str, part: Path, progress: Progress, headers: Mapping[str, str]) -> None:
        """Download what is missing of `part`. After a broken connection, continue where it ended."""
        for remaining in reversed(range(TRIES)):
            before = _size(part)
            try:
                await self._continue(url, part, progress, headers)
            except (httpx.RemoteProtocolError, httpx.ReadError) as error:
                if remaining == 0 or _size(part) == before:
                    raise Unavailable(f"{url} broke off after {_size(part)} bytes: {error}") from error
            else:
                return

    async def _continue(self, url: str, part: Path, progress: Progress, headers: Mapping[str, str]) -> None:
        have = _size(part)
        asked = {**headers, "Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
        async with self._open(url, asked, accept=(416,)) as response:
            if response.status_code == 416:  # longer than the file, so it is not a part of it
                _forget(part)
                raise Unavailable(f"{url} is shorter than the part that was kept of it; run again")
            resumed = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
                f"bytes {have}-"
            )
            done = have if resumed else 0
            total = done + int(response.headers.get("Content-Length", 0))
            with _opened(part, resumed) as stream:
                said = 0.0
                async for chunk in self._chunks(response):
                    stream.write(chunk)
                    done += len(chunk)
                    now = asyncio.get_running_loop().time()
                    if now - said >= 1.0:
                        said = now
                        progress.say(
                            f"downloading, {done / MEGABYTE:.0f} of {total / MEGABYTE:.0f} MB",
                            done / total if total else None,
                        )

    @asynccontextmanager
    async def _open(
        self, url: str, headers: Mapping[str, str], accept: tuple[int, ...] = ()
    ) -> AsyncIterator[httpx.Response]:
        request = self._client.build_request("GET", url, headers=headers)
        host = request.url.netloc.decode()
        async with self._gates[host]:
            if reason := self._unreachable.get(host):
                raise Unavailable(reason)
            try:
                response = await self._client.send(request, stream=True)
            except (httpx.TransportError, OSError) as error:
                reason = f"{host} cannot be reached ({_why(error)})"
                self._unreachable[host] = reason
                raise Unavailable(reason) from error
        try:
            if response.status_code >= 400 and response.status_code not in accept:
                raise Unavailable(f"{url} answers {response.status_code} {response.reason_phrase}")
            yield response
        finally:
            await response.aclose()

    async def _chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for chunk in response.aiter_bytes():
                yield chunk
        except httpx.ReadTimeout as error:
            raise Unavailable(
                f"{response.request.url} sent nothing for {self._stall:.0f} s; the part is kept, run again to continue"
            ) from error


def _why(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__


def _plain(headers: httpx.Headers) -> dict[str, str]:
    """The headers without those of the transfer, because the content is already decoded."""
    transfer = ("content-encoding", "content-length", "transfer-encoding")
    return {name: value for name, value in headers.items() if name.lower() not in transfer}


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _opened(part: Path, resumed: bool) -> BinaryIO:
    return part.open("ab" if resumed else "wb")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _has_digest(path: Path, sha256: str) -> bool:
    return path.is_file() and _digest(path) == sha256
