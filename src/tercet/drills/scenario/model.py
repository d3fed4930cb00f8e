"""A drill's scenario: its faults, how long they last, and what must hold. Data only.

Built-in scenarios are the files of built_in/; your own files have the same form (docs/drills.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails

from tercet.drills.expect import ExpectModel
from tercet.drills.scenario.fault import FaultModel, kinds
from tercet.drills.scenario.mechanism import Mechanism
from tercet.drills.scenario.shapes import expected
from tercet.inventory.base import Model
from tercet.inventory.providers import Capability, declarations
from tercet.inventory.shapes import Hostname, Seconds


def fault_keys() -> Mapping[str, FieldInfo]:
    """All keys that a fault can have: the kinds, the common keys, and the keys of some kinds."""
    words = {kind: model.model_fields[kind] for kind, model in kinds().items()}
    every = {key: field for model in kinds().values() for key, field in model.model_fields.items()}
    return {**words, **FaultModel.model_fields, **every}


def _of_its_kind(value: Any, handler: ValidatorFunctionWrapHandler) -> FaultModel:
    """The fault with these keys. Exactly one of them must be a kind."""
    if not isinstance(value, dict):
        return handler(value)  # type: ignore[no-any-return]
    given = [kind for kind in kinds() if kind in value]
    if len(given) == 1:
        model = kinds()[given[0]]
        _refuse_keys_of_others(model, value)
        return model.model_validate_json(json.dumps(value), strict=True)
    unknown = [key for key in value if key not in fault_keys()]
    if unknown:
        errors = [InitErrorDetails(type="extra_forbidden", loc=(key,), input=value[key]) for key in unknown]
        raise ValidationError.from_exception_data("fault", errors)
    raise expected(f"exactly one of {', '.join(kinds())} in a fault, not {' and '.join(given) or 'none'}")


def _refuse_keys_of_others(model: type[FaultModel], value: Mapping[str, Any]) -> None:
    """Refuse keys of other kinds. The model refuses keys that no kind has."""
    for key in value:
        takers = [kind for kind, other in kinds().items() if key in other.model_fields]
        if takers and model.kind not in takers:
            raise expected(f"{key} with {' or '.join(takers)} alone, not with {model.kind}")


AnyFault = Annotated[FaultModel, WrapValidator(_of_its_kind)]
_FAULT: TypeAdapter[FaultModel] = TypeAdapter(AnyFault)


def fault_of(**words: Any) -> FaultModel:
    """The fault that a scenario describes with these keys. Raises ValidationError."""
    return _FAULT.validate_python(words)


class LoadModel(Model):
    """The load of each site's applications, per second."""

    writes: Annotated[float, Field(ge=1, le=200)] = 10.0
    reads: Annotated[float, Field(ge=1, le=200)] = 20.0
    transactions: Annotated[float, Field(ge=0, le=200)] = 5.0
    deadline: Seconds = 1.0
    """The time after which a client gives up a statement."""


class Scenario(Model):
    """A scenario. It cannot allow lost writes: their number must be 0 in every drill."""

    name: Hostname
    title: str
    """One line: what happens."""
    promise: str
    """The result that the specification demands."""
    faults: Annotated[tuple[AnyFault, ...], Field(min_length=1, max_length=8)]
    mechanism: Mechanism = Mechanism.NONE
    """Chooses the chain of links that the predictor computes."""
    load: LoadModel = LoadModel()
    warm_up: Seconds = 5.0
    """Seconds of load before the first fault."""
    observe: Seconds = 5.0
    """Seconds of load after all faults are healed and the platform is healthy again."""
    expect: ExpectModel = ExpectModel()

    @property
    def needs(self) -> frozenset[Capability]:
        """The capabilities that the provider must have."""
        return frozenset(fault.needs for fault in self.faults if fault.needs)

    @property
    def providers(self) -> tuple[str, ...]:
        """The names of the providers that declare all of them."""
        return tuple(each.name for each in declarations() if self.needs <= each.faults)

    @property
    def seconds(self) -> float:
        """Seconds of load, without the wait for the platform's health."""
        return self.warm_up + max(fault.at + fault.lasts for fault in self.faults) + self.observe
