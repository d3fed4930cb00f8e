"""Permissions to create what may exist only once on a platform: the Raft of `dcs`, the database cluster.

A permission is a file with the fragment of configuration that lets the program create it. `apply` gives it while no
database node holds data, and `tercet recover dcs` if the data of `dcs` is lost. The unit moves the file to a place
where the program reads it, and where it is lost or used up together with what was created. So a node that lost its data
never creates a second one.
"""

from __future__ import annotations

from collections.abc import Mapping

from tercet.converge.requests import Answer, Exec

_GIVE = 'mkdir -p "$(dirname "$0")" && cat > "$0.new" && sync "$0.new" && mv "$0.new" "$0"'


def give(path: str, fragment: bytes) -> Exec:
    """Write the permission, completely or not at all."""
    return Exec(("sh", "-c", _GIVE, path), stdin=fragment)


def holds_data(data: str) -> Exec:
    """Ask a database node whether it holds a database: "data" or "empty"."""
    return Exec(("sh", "-c", f"[ -s {data}/PG_VERSION ] && echo data || echo empty"))


def nobody_has_data(answers: Mapping[str, Answer]) -> str | None:
    """Judge the answers to `holds_data`: None if every node is empty, otherwise the reason why nothing may be
    created.
    """
    for name, answer in answers.items():
        if answer.text.strip() == "data":
            return (
                f"{name} holds a database already, so no new cluster is created. Expected: no data anywhere, or `dcs` "
                f"knowing the cluster. If `dcs` lost its data: `tercet recover dcs`"
            )
        if answer.text.strip() != "empty":
            return f"{name} did not say whether it holds a database ({answer.why()}); start it and try again"
    return None
