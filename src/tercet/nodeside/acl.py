"""Compares the policies and tokens of a Consul datacenter with those that tercet wants. `acl.py check` prints each
difference in one line, `acl.py set` removes them.

Standard input: a JSON object {"consul": endpoint with the management token, "mark": with what the description of
tercet's own policies and tokens begins, "wait_s": seconds to wait for a leader, "policies": [{"Name", "Description",
"Rules"}], "tokens": [{"AccessorID", "SecretID", "Description", "Policies": [names]}]}. Those that have the mark and are
not wanted are removed; others are left alone. Consul does not let anyone change the SecretID of a token, so other
secrets mean other tokens with the same descriptions. The old ones are needed until every agent has its new one, so they
stay: retired.py removes them.

`set` can be broken off anywhere: each change is one request, and policies come before the tokens that name them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from tercet.nodeside.api import MALFORMED, Api, ApiError
from tercet.nodeside.endpoint import Endpoint

ASK_S = 5.0
AGAIN_S = 0.2  # while the servers elect a leader, and while it creates Consul's own tokens
ANONYMOUS = "00000000-0000-0000-0000-000000000002"  # Consul's token of requests without one; a new leader makes it last
MANAGEMENT = "management"  # after the mark, the description of the token for management that was made beside another
INITIAL = "Initial Management Token"  # the description of the one that Consul makes (initializeACLs, Consul 1.22)
DISABLED = "ACL support disabled"  # what Consul answers, with status 401, if its configuration has no ACLs


class Change(NamedTuple):
    """One difference in words, and the request that removes it."""

    what: str
    method: str
    path: str
    body: dict[str, Any]


def differences(api: Api, wanted: dict[str, Any]) -> Iterator[Change]:
    """The changes, in the order in which they must be made. Raises ApiError."""
    policies = {each["Name"]: each for each in ask(api, "GET", "/v1/acl/policies")}
    tokens = {each["AccessorID"]: each for each in ask(api, "GET", "/v1/acl/tokens")}
    for policy in wanted["policies"]:
        yield from _policy(api, policies.get(policy["Name"]), policy)
    for token in wanted["tokens"]:
        yield from _token(tokens.get(token["AccessorID"]), token)
    known = {wanted["mark"] + MANAGEMENT, *(each["Description"] for each in wanted["tokens"])}
    for accessor, token in tokens.items():
        if (described := token["Description"]).startswith(wanted["mark"]) and described not in known:
            yield Change(f"the token of {_subject(token, wanted)} is not wanted", "DELETE", f"token/{accessor}", {})
    names = {each["Name"] for each in wanted["policies"]}
    for name, policy in policies.items():
        if name not in names and policy["Description"].startswith(wanted["mark"]):
            yield Change(f"the policy of {name} is not wanted", "DELETE", f"policy/{policy['ID']}", {})


def leftovers(api: Api, wanted: dict[str, Any]) -> Iterator[Change]:
    """Tokens that nothing uses any more: those of tercet that are not wanted, and the former one for management, which
    Consul made from its configuration. Raises ApiError.
    """
    keep = {each["AccessorID"] for each in wanted["tokens"]}
    own = ask(api, "GET", "/v1/acl/token/self")["AccessorID"]
    for token in ask(api, "GET", "/v1/acl/tokens"):
        accessor, described = token["AccessorID"], token["Description"]
        if accessor not in (own, *keep) and (described.startswith(wanted["mark"]) or described == INITIAL):
            what = f"a former token of {_subject(token, wanted)} is valid"
            yield Change(what, "DELETE", f"token/{accessor}", {})


def _subject(token: dict[str, Any], wanted: dict[str, Any]) -> str:
    return str(token["Description"]).removeprefix(wanted["mark"])


def make(api: Api, change: Change) -> None:
    """Raises ApiError."""
    ask(api, change.method, f"/v1/acl/{change.path}", change.body)


def _policy(api: Api, found: dict[str, Any] | None, policy: dict[str, Any]) -> Iterator[Change]:
    if found is None:
        yield Change(f"there is no policy for {policy['Name']}", "PUT", "policy", policy)
    elif ask(api, "GET", f"/v1/acl/policy/{found['ID']}")["Rules"] != policy["Rules"]:
        yield Change(f"the policy of {policy['Name']} has other rules", "PUT", f"policy/{found['ID']}", policy)


def _token(found: dict[str, Any] | None, token: dict[str, Any]) -> Iterator[Change]:
    body = {**token, "Policies": [{"Name": name} for name in token["Policies"]]}
    if found is None:
        yield Change(f"there is no token for {token['Description']}", "PUT", "token", body)
        return
    linked = sorted(each["Name"] for each in found.get("Policies") or [])
    if linked != sorted(token["Policies"]) or found["Description"] != token["Description"]:
        path = f"token/{token['AccessorID']}"
        yield Change(f"the token for {token['Description']} has other policies", "PUT", path, body)


def ask(api: Api, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The parsed answer; never one from the past (nodeside/keys.py says more). Raises ApiError for every status but
    200.
    """
    question = f"{path}?consistent" if method == "GET" else path
    answer = api.ask(method, question, json.dumps(body).encode() if body else b"", timeout=ASK_S)
    if answer.status != 200:
        raise ApiError(f"status {answer.status}: {answer.text().strip()[:200]}")
    return answer.json()


def wait(api: Api, seconds: float) -> None:
    """Wait for a leader with Consul's own tokens. Raises ApiError with the last answer."""
    ends = time.monotonic() + seconds
    while True:
        try:
            ask(api, "GET", f"/v1/acl/token/{ANONYMOUS}")
            return
        except ApiError as error:
            if DISABLED in str(error) or time.monotonic() >= ends:
                raise
        time.sleep(AGAIN_S)


def main(verb: str, wanted: dict[str, Any]) -> int:
    api = Api(Endpoint(**wanted["consul"]), keep=True)
    try:
        if verb == "set":
            wait(api, wanted["wait_s"])
        for change in differences(api, wanted):
            print(change.what, flush=True)
            if verb == "set":
                make(api, change)
    except (ApiError, *MALFORMED) as error:
        problem = DISABLED if DISABLED in str(error) else f"it does not say which tokens it has: {error}"
        print(problem, file=sys.stdout if problem == DISABLED else sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.load(sys.stdin)))
