"""`doctor`: everything that would make `up` fail later, in one list, with the remedies. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tercet.image.build import has_form
from tercet.inventory.providers import declaration
from tercet.providers.preflight import HERE, Check, failed, ok, program
from tercet.session.session import Session

IMAGE_PROGRAMS = ("mmdebstrap", "zstd")


async def examine(session: Session) -> tuple[Check, ...]:
    """What making the image needs, while the provider's form of it is not there, and the provider's own checks."""
    form = declaration(session.platform.settings.provider).image
    made = session.image is not None and has_form(session.image, form)
    return (*(() if made else _image()), *await session.provider.preflight())


def _image() -> Iterator[Check]:
    """What making the image needs of the machine it is made on."""
    if os.geteuid() == 0:
        yield ok(HERE, "root")
    else:
        remedy = "run it as root: the image is made here, with the owners that its files have"
        yield failed(HERE, "root", "this is an ordinary user", remedy)
    for name in IMAGE_PROGRAMS:
        yield program(name, name)
