"""The expectations of a drill: a scenario's `expect`, and the budgets in seconds. Data only."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from tercet.drills import promise
from tercet.inventory.base import Model
from tercet.inventory.model import BudgetsModel
from tercet.inventory.shapes import Seconds

BudgetName = Literal[
    "site_loss",
    "site_cut",
    "primary_loss",
    "postmaster_loss",
    "switchover",
    "healing",
    "reads",
    "reschedule",
    "healthy",
    "cold_start",
]
Budget = BudgetName | Literal["unjudged"] | Seconds


def _is_promise(name: str) -> str:
    known = promise.names()
    if name not in known:
        raise PydanticCustomError(
            "shape", "expected {expected}", {"expected": f"{', '.join(known[:-1])} or {known[-1]}"}
        )
    return name


class _ListedInSchema:
    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"enum": promise.names(), **handler(schema)}


PromiseName = Annotated[str, AfterValidator(_is_promise), _ListedInSchema()]


class ExpectModel(Model):
    """What is judged. A budget is a name from the inventory's `budgets`, a duration, or `unjudged`."""

    writes: Budget = "unjudged"
    """Longest time without an acknowledged write at any spared site while the fault lasts. `unjudged` if writes must be
    refused.
    """
    reads: Budget = "reads"
    """The same for reads."""
    healing: Budget = "healing"
    """The same for writes from the healing on, at the spared sites."""
    back: Budget = "unjudged"
    """From the healing to the first acknowledged write at any site, if all sites were down."""
    refused: Budget = "unjudged"
    """From the fault to the first write refused with SQLSTATE 25006, at the slowest site."""
    healthy: Budget = "unjudged"
    """From the healing until all conditions of `tercet status` hold at once. The limit is 180 s in any case."""
    failovers: Annotated[int, Field(ge=0)] | None = None
    """The number of changes of the primary from the fault to the end of the drill. Not judged if not given."""
    promises: tuple[PromiseName, ...] = ()
    """Further statements that must hold; docs/drills.md explains each."""


def seconds_of(budget: Budget, budgets: BudgetsModel) -> float | None:
    """A budget's seconds in this inventory; None if it is not judged."""
    if budget == "unjudged":
        return None
    return float(getattr(budgets, budget)) if isinstance(budget, str) else budget
