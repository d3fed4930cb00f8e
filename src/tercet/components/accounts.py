"""The accounts that the components declare, as resources of a node."""

from __future__ import annotations

from collections.abc import Iterable

from tercet.converge.requests import Exec
from tercet.converge.resources import Object
from tercet.inventory.accounts import Account
from tercet.inventory.components import declarations
from tercet.inventory.platform import Node


def accounts(node: Node) -> Iterable[Object]:
    for declared in declarations():
        yield from (_account(each, node) for each in declared.accounts if node.role in each.roles)


def _account(account: Account, node: Node) -> Object:
    number = "--system" if account.uid is None else f"--uid={account.uid}"
    nowhere = ("--no-create-home", "--home-dir=/nonexistent", "--shell=/usr/sbin/nologin")
    return Object(
        f"user {account.name} of {node.name}",
        Exec(("id", "-u", account.name)),
        lambda answer: None if answer.ok else "there is no such user",
        (Exec(("useradd", number, "--user-group", *nowhere, account.name)),),
    )
