"""The operator's SSH keys, to be installed on nodes."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from pathlib import Path

import asyncssh

from tercet.errors import TercetError
from tercet.remote.login import SshLogin


async def public_keys(operator: SshLogin) -> list[str]:
    """The public keys with which the operator logs in to servers, in the format of authorized_keys."""
    if operator.key is not None:
        try:
            return [_line(asyncssh.read_private_key(operator.key))]
        except (OSError, asyncssh.KeyImportError) as error:
            raise TercetError(f"expected a private key without passphrase in {operator.key}, found: {error}") from None
    found = await asyncio.to_thread(_own_keys)
    try:
        async with asyncssh.connect_agent() as agent:
            for pair in await agent.get_keys():
                found.append(f"{pair.get_key_type()} {b64encode(pair.key_public_data).decode()}")
    except (OSError, asyncssh.Error, AttributeError):
        pass  # no agent is running
    return list(dict.fromkeys(found))


def _own_keys() -> list[str]:
    return [_line(asyncssh.read_public_key(path)) for path in Path("~/.ssh").expanduser().glob("id_*.pub")]


def _line(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key("openssh").decode().split()[:2])
