"""The token for management of Nomad, when it is replaced, and the keys for gossip.

`nomad_tokens.py add` makes one more valid, beside the others. Only in a bootstrap does Nomad let its caller choose the
secret, and it allows a second bootstrap if the leader finds a file with the index that it named in its refusal. So this
runs on all servers at the same time, and the leader finds its own file.

`nomad_tokens.py remove` removes every token of a bootstrap that is not the wanted one, every other key for gossip, and
then a file that says that they may be there.

Standard input: a JSON object {"nomad": endpoint with the wanted token}, and for `add` {"secret": the wanted token,
"reset": path of the file for Nomad, "wait_s": seconds}, for `remove` {"key": the wanted one, "members": the number of
servers, "file": path}.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from tercet.nodeside.api import MALFORMED, Api, ApiError
from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.keyring import Keyring

ASK_S = 5.0
AGAIN_S = 0.2
# Texts of Nomad 1.11 (ACL.Bootstrap): the name of such a token, and its refusal of a second bootstrap.
BOOTSTRAPPED = "Bootstrap Token"
INDEX = re.compile(r"reset index: (\d+)")


def add(wanted: dict[str, Any]) -> None:
    """Raises ApiError with the last answer if the token is not valid in time."""
    api = Api(Endpoint(**wanted["nomad"]), keep=True)
    anonymous = Api(Endpoint(**wanted["nomad"])._replace(authorization=""), keep=True)
    body, reset = json.dumps({"BootstrapSecret": wanted["secret"]}).encode(), Path(wanted["reset"])
    ends = time.monotonic() + wanted["wait_s"]
    try:
        while api.ask("GET", "/v1/acl/token/self", timeout=ASK_S).status != 200:
            refused = anonymous.ask("POST", "/v1/acl/bootstrap", body, timeout=ASK_S).text()
            if index := INDEX.search(refused):
                reset.write_text(index[1])
            if time.monotonic() >= ends:
                raise ApiError(refused.strip()[:200])
            time.sleep(AGAIN_S)
    finally:
        reset.unlink(missing_ok=True)


def remove(wanted: dict[str, Any]) -> None:
    """Raises ApiError."""
    api = Api(Endpoint(**wanted["nomad"]), keep=True)
    own = api.ask("GET", "/v1/acl/token/self", timeout=ASK_S).json()["AccessorID"]
    for token in api.ask("GET", "/v1/acl/tokens", timeout=ASK_S).json():
        if token["Name"] == BOOTSTRAPPED and token["AccessorID"] != own:
            answer = api.ask("DELETE", f"/v1/acl/token/{token['AccessorID']}", timeout=ASK_S)
            if answer.status not in (200, 404):
                raise ApiError(f"status {answer.status}: {answer.text().strip()[:200]}")
    Keyring(api, "nomad", wanted["members"]).settle(wanted["key"])
    Path(wanted["file"]).unlink(missing_ok=True)


def main(verb: str, wanted: dict[str, Any]) -> int:
    try:
        {"add": add, "remove": remove}[verb](wanted)
    except (ApiError, OSError, *MALFORMED) as error:
        print(f"Nomad does not replace its token or key: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.load(sys.stdin)))
