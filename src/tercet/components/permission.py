"""Permissions to create what a platform must have only once: the Raft of `dcs`, the database cluster.

A permission is a file with the fragment of configuration that lets the program create it. `apply` gives it while no
database node holds data, `tercet recover dcs` where `dcs` is lost. The unit moves it to where the program reads it and
where it is lost or used up together with what was created, so a node that lost its data never creates a second one.
"""

from __future__ import annotations

from collections.abc import Mapping

from tercet.converge.requests import Answer, Exec

_GIVE = 'mkdir -p "$(dirname "$0")" && cat > "$0.new" && sync "$0.new" && mv "$0.new" "$0"'


def give(path: str, fragment: bytes) -> Exec:
    """Write the permission: whole or not at all."""
    return Exec(("sh", "-c", _GIVE, path), stdin=fragment)


def holds_data(data: str) -> Exec:
    """Ask a database node whether it holds a database: "data" or "empty"."""
    return Exec(("sh", "-c", f"[ -s {data}/PG_VERSION ] && echo data || echo empty"))


def nobody_has_data(answers: Mapping[str, Answer]) -> str | None:
    """Judge the answers to `holds_data`: None where every node is empty, else why nothing may be created."""
    for name, answer in answers.items():
        if answer.text.strip() == "data":
            return (
                f"{name} holds a database already, so no new cluster is created. Expected: no data anywhere, or `dcs` "
                f"knowing the cluster. If `dcs` lost its data: `tercet recover dcs`"
            )
        if answer.text.strip() != "empty":
            return f"{name} did not say whether it holds a database ({answer.why()}); start it and try again"
    return None
