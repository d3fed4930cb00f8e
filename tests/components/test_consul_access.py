"""The rights of each role in Consul, exactly; tests/lab/test_intruder.py tries what they do not allow."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tercet.components.consul import tokens
from tercet.components.consul.access import Datacenter, _differs, of_site, policy, stretched, wanted
from tercet.components.context import Context
from tercet.components.nomad.security import _invalid, created
from tercet.converge.requests import Answer
from tercet.errors import TercetError

READ, WRITE = {"policy": "read"}, {"policy": "write"}


def rights(context: Context, datacenter: Datacenter, name: str) -> dict[str, Any]:
    """What the node may do besides registering itself and looking up."""
    found = policy(context, datacenter, context.platform.node(name))
    own = {"node": {name: WRITE}, "agent": {name: WRITE}, "node_prefix": {"": READ}}
    assert {resource: found.pop(resource) for resource in own} == own
    if found["service_prefix"] == {"": READ}:
        del found["service_prefix"]
    return found


def test_only_database_nodes_write_what_patroni_reads(context: Context) -> None:
    dcs = stretched(context)
    assert rights(context, dcs, "apps-sib-03") == {"key_prefix": {"service/proposalsapp/": READ}}
    assert rights(context, dcs, "consul-nomad-sib-03") == {
        "key": {"service/proposalsapp/leader": READ, "tercet/count/consul-nomad-sib-03": WRITE},
        "operator": "write",
    }
    assert rights(context, dcs, "db-sib-03") == {
        "key_prefix": dict.fromkeys(("service/proposalsapp/", "tercet/follow/", "tercet/room/"), WRITE),
        "service": {"proposalsapp": WRITE},
        "session": dict.fromkeys(("db-sib-01", "db-sib-03", "db-fsn-01"), WRITE),
    }


def test_at_its_site_an_apps_node_registers_services(context: Context) -> None:
    site = of_site(context, context.platform.site("sib-03"))
    assert rights(context, site, "apps-sib-03") == {"service_prefix": {"": WRITE}}
    assert rights(context, site, "consul-nomad-sib-03") == {"service": {"nomad": WRITE}, "operator": "write"}
    assert rights(context, site, "db-sib-03") == {}


def test_every_datacenter_knows_every_node_and_gives_foreign_ones_only_look_ups(context: Context) -> None:
    names = [node.name for node in context.platform.nodes]
    told = wanted(context, of_site(context, context.platform.site("fsn-01")))
    given = {each["Description"]: each["Policies"] for each in told["tokens"]}
    assert given == {
        **{f"tercet {name}": [name if name.endswith("fsn-01") else "look-up"] for name in names},
        "tercet no token": ["look-up"],
    }
    secrets = {each["SecretID"] for each in told["tokens"] if "SecretID" in each}
    assert len(secrets) == len(names) and tokens.management(context.secrets) not in secrets


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(0, ""), None),
        (
            Answer(0, "there is no token for tercet db-1\nthe policy of db-1 has other rules\n"),
            "no token for tercet db-1",
        ),
        (Answer(1, "", "status 500: No cluster leader"), "unknown"),
        (Answer(-1, "", "the node did not answer"), "unknown (the node did not answer)"),
    ],
)
def test_what_is_missing_is_the_reason(answer: Answer, reason: str | None) -> None:
    found = _differs(answer)
    assert found is None if reason is None else reason in (found or "")


def test_a_platform_without_tokens_is_refused() -> None:
    with pytest.raises(TercetError, match=r"one that an older tercet made without.*Nothing was changed"):
        _differs(Answer(1, "ACL support disabled\n"))


def test_nomads_token_is_made_valid_before_it_is_used(context: Context) -> None:
    token, policies = created(context)
    assert _invalid(Answer(200, "{}")) is None
    assert _invalid(Answer(403, "Permission denied")) == "it is not valid (status 403: Permission denied)"
    assert policies.differs(Answer(404, "policy not found")) == (
        "there is no such policy (status 404: policy not found)"
    )
    assert policies.differs(Answer(200, json.dumps({"Rules": 'namespace "default" { policy = "write" }'}))) == (
        "the policy has other rules"
    )
    assert token.on == policies.on == tuple(f"consul-nomad-{site}" for site in ("sib-01", "sib-03", "fsn-01"))
