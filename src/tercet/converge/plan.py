"""The plan: which changes are made, on which node, why, and in which order. A value; nothing here acts.

The plan that is shown is the plan that is executed: `apply` takes these steps and computes nothing again. There are
three exceptions, which the plan shows: bytes that do not exist yet (`Deferred`), objects of the node that is primary at
that time (`Object.here`), and the state of a node whose container is stopped (`Step.unknown`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tercet.converge.resources import Resource, Rolling
from tercet.converge.target import Kind, Target, Verb
from tercet.inventory.platform import holds_database


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the plan.

    A provider sets `restarts` to the name of a running node if the change stops it.
    """

    verb: Verb
    target: Target
    reason: str  # "absent", "content differs", "not active (failed)", "its file … changes"
    resource: Resource | None = field(default=None, repr=False)
    restarts: str = ""

    @property
    def destroys(self) -> str:
        """The name of the database node if the change destroys its database for good, otherwise "". The operator must
        have named it. The name is derived from the change, so that no provider can forget to declare it."""
        removed = self.target.name if self.verb is Verb.REMOVE and self.target.kind is Kind.CONTAINER else ""
        return removed if holds_database(removed) else ""

    @property
    def what(self) -> str:
        """The target as text: "file /etc/hosts", "unit patroni.service", "container db-sib-01"."""
        return str(self.target)

    def __str__(self) -> str:
        return f"{self.verb} {self.target}"


@dataclass(frozen=True, slots=True)
class Step:
    """All changes of one component on one node, made by one script there.

    `rolling` is set if the step disturbs a running member of a rolling group. Such steps of a component run one at a
    time, in the plan's order, and the component's conditions are checked after each.

    `unknown` is set if the node's container is stopped. `changes` then has all changes that may be needed, and each is
    compared when it is made.
    """

    component: str
    node: str
    changes: tuple[Change, ...]
    rolling: Rolling | None = None
    unknown: bool = False

    @property
    def group(self) -> str | None:
        """The name of the rolling group."""
        return self.rolling.group if self.rolling else None


@dataclass(frozen=True, slots=True)
class Held:
    """A needed step that is not carried out while nodes cannot be reached.

    `awaits` has the sites or nodes that must be back first, and `reason` says why. `component` is "" for changes of the
    container itself. `unknown` is the same as in Step.
    """

    component: str
    node: str
    changes: tuple[Change, ...]
    awaits: tuple[str, ...]
    reason: str
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`infrastructure` has the provider's changes (containers, networks), which come first; then come `steps`, in
    order.

    `restarts` has the provider's restarts of whole nodes that serve. They come last, one at a time in this order, each
    only while the platform is healthy.

    `unreachable` maps a node that could not be read to the reason: its changes are unknown. `waiting` has changes that
    other nodes need, but that must not be made before that node is back. Neither is carried out, so a plan can
    have both and still be empty.
    """

    infrastructure: tuple[Change, ...] = ()
    steps: tuple[Step, ...] = ()
    unreachable: tuple[tuple[str, str], ...] = ()
    restarts: tuple[Change, ...] = ()
    waiting: tuple[Held, ...] = ()

    @property
    def destructions(self) -> tuple[Change, ...]:
        """The changes that destroy a database."""
        return tuple(change for change in self.infrastructure if change.destroys)

    @property
    def empty(self) -> bool:
        """Whether nothing can be done now."""
        return not (self.infrastructure or self.steps or self.restarts)

    @property
    def listed(self) -> tuple[Step, ...]:
        """The steps whose changes are known. The nodes of all other steps are in `stopped`."""
        return tuple(step for step in self.steps if not step.unknown)

    @property
    def stopped(self) -> tuple[str, ...]:
        """The nodes whose containers are stopped: their changes are known only when they run."""
        parts: tuple[Step | Held, ...] = (*self.steps, *self.waiting)
        return tuple(dict.fromkeys(part.node for part in parts if part.unknown))

    @property
    def away(self) -> frozenset[str]:
        """The names of the nodes that could not be read."""
        return frozenset(name for name, _ in self.unreachable)
