"""How a person who logs in to a node uses the command line of Consul or Nomad without naming the API or its CA."""

from __future__ import annotations

from tercet.converge.resources import File
from tercet.nodeside.endpoint import Endpoint


def for_people(program: str, at: Endpoint) -> File:
    """What login shells set for that program, which is "consul" or "nomad"."""
    address = "CONSUL_HTTP_ADDR" if program == "consul" else "NOMAD_ADDR"
    lines = (f"export {address}={at.url('')}", f"export {program.upper()}_CACERT={at.ca}")
    return File(f"/etc/profile.d/{program}.sh", "".join(f"{line}\n" for line in lines).encode())
