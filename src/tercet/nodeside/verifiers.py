"""Whether PostgreSQL's own users are as wanted: prints "ready", "standby", or what is wrong.

Standard input: {"psql": [WORD, …], "users": {USER: {"password": PASSWORD, "settings": [NAME=VALUE, …], "member_of":
[ROLE, …], "connections": LIMIT}}}. Everything but the password may be left out, and is not checked then. `psql` is run
as a superuser, at the node's local socket.

PostgreSQL keeps a verifier for each password, "SCRAM-SHA-256$ITERATIONS:SALT$STORED_KEY:SERVER_KEY", and the stored key
follows from the password (RFC 5802, section 3). To log in instead would not do: some of these users may not.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
from base64 import b64decode
from typing import Any

ASK = """SELECT json_build_object('standby', pg_is_in_recovery(), 'users', (SELECT json_object_agg(rolname,
json_build_object('verifier', rolpassword, 'settings', setconfig, 'connections', rolconnlimit, 'member_of', (SELECT
json_agg(roleid::regrole) FROM pg_auth_members WHERE member = pg_authid.oid))) FROM pg_authid LEFT JOIN
pg_db_role_setting ON setrole = pg_authid.oid AND setdatabase = 0))"""
TIMEOUT_S = 10


def fits(password: str, verifier: str | None) -> bool:
    """Whether the verifier is of this password."""
    try:
        method, parameters, keys = (verifier or "").split("$")
        iterations, salt = parameters.split(":")
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), b64decode(salt), int(iterations))
        stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
        return method == "SCRAM-SHA-256" and hmac.compare_digest(stored, b64decode(keys.split(":")[0]))
    except ValueError:
        return False


def verdict(found: dict[str, Any], users: dict[str, dict[str, Any]]) -> str:
    """`found`: the answer to ASK."""
    if found["standby"]:
        return "standby"
    for user, wanted in users.items():
        if user not in found["users"]:
            return f"user {user} does not exist"
        if wrong := _wrong(found["users"][user], wanted):
            return f"user {user} {wrong}"
    return "ready"


def _wrong(user: dict[str, Any], wanted: dict[str, Any]) -> str:
    """What is wrong with an existing user; empty if nothing is."""
    if not fits(wanted["password"], user["verifier"]):
        return "has another password"
    if missing := [each for each in wanted.get("settings", ()) if each not in (user["settings"] or ())]:
        return f"does not have {missing[0]}"
    if missing := [each for each in wanted.get("member_of", ()) if each not in (user["member_of"] or ())]:
        return f"is not a member of {missing[0]}"
    if (limit := wanted.get("connections", user["connections"])) != user["connections"]:
        return f"may have {user['connections']} connections, wanted {limit}"
    return ""


def main() -> None:
    asked = json.load(sys.stdin)
    done = subprocess.run([*asked["psql"], "-c", ASK], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr.strip().partition("\n")[0] or "psql failed")
    print(verdict(json.loads(done.stdout), asked["users"]))


if __name__ == "__main__":
    main()
