"""The fingerprint of the platform's secrets on its database nodes: an operator with other secrets is refused.

Most passwords are set in the database only when it is created, because Patroni creates its users at that time. An
operator on another machine, with the same inventory but other secrets, would break replication.

Invariant: a secret is brought to a node only after the database nodes have a record of it, and never if it differs from
a record. So this component comes before all others. The record is a hash of each secret, with as many rounds as
PostgreSQL's own (scram_iterations), and names the file from which the secrets came.

`tercet secrets rotate` announces new secrets in the records, as `next`, before it writes them into the operator's file.
While they are announced, both the old and the new ones are the platform's own. `apply` ends that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from hashlib import pbkdf2_hmac
from types import MappingProxyType
from typing import NoReturn

from tercet.components.context import Context
from tercet.converge.component import Condition
from tercet.converge.requests import Answer, Deferred, Exec, Request
from tercet.converge.resources import Object, Resource
from tercet.datafile import text_of
from tercet.errors import TercetError
from tercet.inventory.platform import Node, Role
from tercet.inventory.secrets import names

FOLDER = "/var/lib/tercet"
RECORD = f"{FOLDER}/secrets.json"
ROUNDS = 4096

READ = Exec(("sh", "-c", f"if [ -e {RECORD} ]; then cat {RECORD}; else echo '{{}}'; fi"))
WRITE = text_of(__package__, "fingerprint-write.sh", FOLDER=FOLDER, RECORD=RECORD)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The record on each database node."""

    context: Context
    name: str = "fingerprint"
    after: tuple[str, ...] = ()

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is not Role.DB:
            return
        record = Deferred("the secrets are made", {}, lambda _answers: self._record())
        yield Object(
            f"fingerprint of the secrets on {node.name}",
            READ,
            lambda answer: self._differs(node.name, answer),
            (Exec(("sh", "-c", WRITE), stdin=record, timeout=20),),
            needs=tuple((database.name, READ) for database in self.context.platform.of(Role.DB)),
            permit=lambda answers: self._permit(node.name, answers),
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {}

    def healthy(self) -> Iterable[Condition]:
        return ()

    def _hashes(self) -> dict[str, str]:
        platform, texts = self.context.platform.name, self.context.secrets.texts
        return {name: hashed(f"{platform}/{name}", texts[name]) for name in names()}

    def announcing(self, new: Mapping[str, str]) -> Exec:
        """Write a record that announces these secrets, by name."""
        platform = self.context.platform.name
        following = {name: hashed(f"{platform}/{name}", secret) for name, secret in new.items()}
        return Exec(("sh", "-c", WRITE), stdin=self._record(following), timeout=20)

    def announced(self, node: str, answer: Answer) -> tuple[str, ...]:
        """The names of the announced secrets that these secrets already have. Raises TercetError as `differs` does."""
        self._recorded(node, answer)
        own = self._hashes()
        return tuple(name for name, digest in self._next(answer).items() if own.get(name) == digest)

    def _next(self, answer: Answer) -> Mapping[str, str]:
        record = answer.json()
        found = record.get("next", {}) if isinstance(record, dict) else {}
        return found if isinstance(found, dict) else {}

    def _record(self, following: Mapping[str, str] = MappingProxyType({})) -> bytes:
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        record = {"from": self.context.secrets_from, "since": since, "secrets": self._hashes()}
        if following:
            record["next"] = dict(following)
        return json.dumps(record, indent=2).encode() + b"\n"

    def _differs(self, node: str, answer: Answer) -> str | None:
        """Raises TercetError if the record is of other secrets."""
        if not answer.ok:
            return f"unknown ({answer.why()})"
        recorded = self._recorded(node, answer)
        missing = [name for name in self._hashes() if name not in recorded]
        if missing:
            return f"no record of {', '.join(missing)} yet"
        following = self._next(answer)
        return f"the change of {', '.join(following)} is not complete" if following else None

    def _permit(self, node: str, answers: dict[str, Answer]) -> str | None:
        """The reason why no record may be made on `node`: a node that does not answer may have a record of other
        secrets.

        If another node has a record of these secrets, the nodes that do not answer have no effect.
        """
        known = {name: self._recorded(name, answer) for name, answer in answers.items() if answer.ok}
        silent = sorted(answers.keys() - known.keys())
        if not silent or (node in known and any(known.values())):
            return None
        return f"{', '.join(silent)} did not say whether the platform runs with other secrets; start it and try again"

    def _recorded(self, node: str, answer: Answer) -> Mapping[str, str]:
        """The node's record. Raises TercetError if it is of other secrets or cannot be read."""
        record = answer.json()
        if not isinstance(record, dict) or not isinstance(recorded := record.get("secrets", {}), dict):
            raise TercetError(
                f"expected the fingerprint of the secrets in {RECORD} on {node}, found something else. If the secrets "
                "file is surely the platform's own, remove that file there; nothing was changed"
            )
        own, following = self._hashes(), self._next(answer)
        others = [name for name, found in recorded.items() if own.get(name, found) not in (found, following.get(name))]
        if others:
            self._refuse(node, others, record)
        return recorded

    def _refuse(self, node: str, others: list[str], record: Mapping[str, object]) -> NoReturn:
        raise TercetError(
            f"expected the secrets that the platform {self.context.platform.name} runs with, found others in "
            f"{self.context.secrets_from}: {', '.join(others)}. Nothing was changed\n"
            f"  Copy the platform's own from {record.get('from')}, as {node} recorded on {record.get('since')}. "
            "To change a secret, use `tercet secrets rotate`"
        )


@cache
def hashed(salt: str, secret: str) -> str:
    """The hash of a secret, in hexadecimal digits. The salt is the platform's name and the secret's."""
    return pbkdf2_hmac("sha256", secret.encode(), salt.encode(), ROUNDS).hex()
