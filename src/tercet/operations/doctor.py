"""`doctor`: finds everything that would make `up` fail later, and what of the tailnet is open, with remedies. Changes
nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from tercet.image.build import has_form
from tercet.inventory.providers import declaration
from tercet.operations.device import device
from tercet.providers.preflight import HERE, Check, failed, ok, program
from tercet.session.session import Session

IMAGE_PROGRAMS = ("mmdebstrap", "zstd")


async def examine(session: Session) -> tuple[Check, ...]:
    """The provider's own checks, this machine's view of the tailnet, and if the image does not exist yet in the
    provider's form, the checks for building it.
    """
    form = declaration(session.platform.settings.provider).image
    made = session.image is not None and has_form(session.image, form)
    seen = await device(session.platform)
    return (*(() if made else _image()), *await session.provider.preflight(), *((seen,) if seen else ()))


def _image() -> Iterator[Check]:
    """What building the image needs on this machine."""
    if os.geteuid() == 0:
        yield ok(HERE, "root")
    else:
        remedy = "run it as root: the image is made here, with the owners that its files have"
        yield failed(HERE, "root", "this is an ordinary user", remedy)
    for name in IMAGE_PROGRAMS:
        yield program(name, name)
