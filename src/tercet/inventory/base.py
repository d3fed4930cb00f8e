"""What every model of the inventory has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Unknown keys are refused, values are frozen; every field's docstring reaches the JSON Schema (docstrings.py).

    Validators are built for what is validated, the inventory as a whole. So a default that is a model is made by
    `model_construct`, which needs none: one for each of them costs every command 0.03 s.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
