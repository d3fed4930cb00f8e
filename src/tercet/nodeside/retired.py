"""Removes what replaced secrets leave in Consul: tokens and keys for gossip. `retired.py check` prints a line for each
of them, `retired.py remove` removes them.

Standard input: a JSON object {"datacenters": [what acl.py reads], "keyring": {"consul": endpoint with the management
token, "key": the wanted one, "members": of all gossip pools, summed}}. All nodes must have the new secrets before.
It can be broken off anywhere, and may run on several nodes at the same time.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tercet.nodeside import acl
from tercet.nodeside.api import MALFORMED, Api, ApiError
from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.keyring import Keyring


def main(verb: str, wanted: dict[str, Any]) -> int:
    try:
        for datacenter in wanted["datacenters"]:
            api = Api(Endpoint(**datacenter["consul"]), keep=True)
            for change in acl.leftovers(api, datacenter):
                print(change.what, flush=True)
                if verb == "remove":
                    acl.make(api, change)
        keys = wanted["keyring"]
        keyring = Keyring(Api(Endpoint(**keys["consul"]), keep=True), "consul", keys["members"])
        for what, call, key in keyring.changes(keys["key"]):
            print(what, flush=True)
            if verb == "remove":
                keyring.make(call, key)
    except (ApiError, *MALFORMED) as error:
        print(f"it does not say which tokens and keys it has: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.load(sys.stdin)))
