"""`status` says when certificates end, and warns before they do."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta

from tercet.components.context import Context
from tercet.components.identity.status import CERTIFICATES
from tercet.converge.component import Readings
from tercet.inventory.certificates import LIFETIME, make_authority
from tercet.inventory.secrets import STAND_IN, Secrets, names


def test_certificates_that_end_soon_are_named(context: Context) -> None:
    authority = make_authority("tercet Consul", "consul")
    texts = dict.fromkeys(names(), STAND_IN) | {"consul_ca_cert": authority.certificate}
    made = dataclasses.replace(context, secrets=Secrets(texts))
    now = datetime.now(UTC)
    end = f"{now + LIFETIME:%Y-%m-%d}"

    def seen(after: timedelta) -> tuple[list[str], list[str]]:
        found = CERTIFICATES.read(made, Readings({}), now + after)
        assert f'"ends": "{end}"' in json.dumps(found.model_dump())  # as `status --json` writes it
        return [each.name for each in found.certificates], [line.plain for line in CERTIFICATES.lines(found)]

    assert seen(timedelta()) == (["consul_ca"], [])
    assert seen(LIFETIME - timedelta(days=181)) == (["consul_ca"], [])
    assert seen(LIFETIME - timedelta(days=179)) == (["consul_ca"], [f"certificate consul_ca: ends on {end}"])


def test_a_replacement_that_is_not_complete_is_said(context: Context) -> None:
    authority = make_authority("tercet Consul", "consul")
    texts = dict.fromkeys(names(), STAND_IN) | {"consul_ca_cert": authority.certificate, "consul_ca_former_cert": "x"}
    made = dataclasses.replace(context, secrets=Secrets(texts))
    lines = CERTIFICATES.lines(CERTIFICATES.read(made, Readings({}), datetime.now(UTC)))
    assert [line.plain for line in lines] == [
        "certificate consul_ca: its replacement is not complete, run `tercet secrets rotate consul_ca` again"
    ]


def test_before_the_secrets_are_made_there_are_none(context: Context) -> None:
    assert CERTIFICATES.read(context, Readings({}), datetime.now(UTC)).certificates == ()
