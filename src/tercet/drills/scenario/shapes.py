"""Types of a fault's fields: its targets and its times, each with the text that errors show as expected."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from tercet.drills.scenario.targets import EXPECTED, Shape, is_target
from tercet.inventory.shapes import Seconds


def expected(text: str) -> PydanticCustomError:
    return PydanticCustomError("shape", "expected {expected}", {"expected": text})


def _target(shape: Shape) -> AfterValidator:
    def check(text: str) -> str:
        if not is_target(text, shape):
            raise expected(EXPECTED[shape])
        return text

    return AfterValidator(check)


def _moment(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return _DURATION.validate_python(value)
    except ValidationError:
        raise expected("seconds after the warm-up, such as 0, 2.5, 500ms or 10s") from None


_DURATION = TypeAdapter[float](Seconds)

Site = Annotated[str, _target("site")]
Machines = Annotated[str, _target("machines")]
Process = Annotated[str, _target("process")]
Node = Annotated[str, _target("node")]
Moment = Annotated[float, Field(ge=0, le=300), BeforeValidator(_moment)]
"""A duration, as everywhere else, or a plain number of seconds, which may be 0."""
