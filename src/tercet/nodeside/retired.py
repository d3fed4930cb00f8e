"""Removes what replaced secrets leave in Consul, tokens and keys for gossip, and then a file that says so.

Standard input: a JSON object {"file": its path, "datacenters": [what acl.py reads], "keyring": {"consul": endpoint with
the management token, "key": the wanted one, "members": of all gossip pools, summed}}. All nodes must have the new
secrets before. It can be broken off anywhere, and may run on several nodes at the same time.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tercet.nodeside import acl
from tercet.nodeside.api import MALFORMED, Api, ApiError
from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.keyring import Keyring


def main(wanted: dict[str, Any]) -> int:
    try:
        for datacenter in wanted["datacenters"]:
            api = Api(Endpoint(**datacenter["consul"]), keep=True)
            for change in acl.leftovers(api, datacenter):
                acl.make(api, change)
        keys = wanted["keyring"]
        Keyring(Api(Endpoint(**keys["consul"]), keep=True), "consul", keys["members"]).settle(keys["key"])
        Path(wanted["file"]).unlink(missing_ok=True)
    except (ApiError, OSError, *MALFORMED) as error:
        print(f"Consul does not remove what is left: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(json.load(sys.stdin)))
