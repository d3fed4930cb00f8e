"""The plan: what will be done, on which node, why, and in which order. A value; nothing here acts.

The plan that is shown is the plan that is executed: `apply` takes these steps and computes nothing again. There are
three exceptions, and the plan says so of each: bytes that do not exist yet (`Deferred`), what belongs to whichever node
is primary by then (`Object.here`), and what is on a node whose container is stopped (`Step.unknown`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tercet.converge.resources import Resource
from tercet.converge.target import Kind, Target, Verb
from tercet.inventory.platform import holds_database


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the plan.

    `restarts` is set by a provider where the change stops a node that runs: its name.
    """

    verb: Verb
    target: Target
    reason: str  # "absent", "content differs", "not active (failed)", "its file … changes"
    resource: Resource | None = field(default=None, repr=False)
    restarts: str = ""

    @property
    def destroys(self) -> str:
        """Where a database is lost with it for good: the name of its node, which the operator must have given. No
        provider can forget to say so."""
        removed = self.target.name if self.verb is Verb.REMOVE and self.target.kind is Kind.CONTAINER else ""
        return removed if holds_database(removed) else ""

    @property
    def what(self) -> str:
        """The target as people read it: "file /etc/hosts", "unit patroni.service", "container db-sib-01"."""
        return str(self.target)

    def __str__(self) -> str:
        return f"{self.verb} {self.target}"


@dataclass(frozen=True, slots=True)
class Step:
    """All changes of one component on one node: one script there.

    `group` is set where the step disturbs a running member of a rolling group: such steps of a component run
    one at a time in the plan's order, each followed by the component's conditions.
    `unknown` is set where the node's container is stopped: `changes` are all that may be needed there, and each is
    compared when it is made.
    """

    component: str
    node: str
    changes: tuple[Change, ...]
    group: str | None = None
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """A step that is needed and is not carried out while nodes cannot be reached.

    `awaits` are the sites, or single nodes, that must be back first, `reason` is why. `component` is "" for changes of
    the container itself. `unknown` is as for Step.
    """

    component: str
    node: str
    changes: tuple[Change, ...]
    awaits: tuple[str, ...]
    reason: str
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`infrastructure` is the provider's part (containers, networks), done first; then `steps`, in order.

    `restarts` is the provider's, too: restarts of whole nodes that serve. They come last, one at a time in this order,
    each while the platform is well.
    `unreachable` maps a node that could not be read to the reason: what it needs is unknown. `waiting` is what the
    others need and must not get before it is back. Neither is carried out, so a plan may have both and be empty.
    """

    infrastructure: tuple[Change, ...] = ()
    steps: tuple[Step, ...] = ()
    unreachable: tuple[tuple[str, str], ...] = ()
    restarts: tuple[Change, ...] = ()
    waiting: tuple[Held, ...] = ()

    @property
    def destructions(self) -> tuple[Change, ...]:
        """What destroys a database."""
        return tuple(change for change in self.infrastructure if change.destroys)

    @property
    def empty(self) -> bool:
        """Nothing is to be done now."""
        return not (self.infrastructure or self.steps or self.restarts)

    @property
    def listed(self) -> tuple[Step, ...]:
        """The steps whose changes are known. The others' nodes are `stopped`."""
        return tuple(step for step in self.steps if not step.unknown)

    @property
    def stopped(self) -> tuple[str, ...]:
        """The nodes whose containers are stopped: what must change there is known once they run."""
        parts: tuple[Step | Held, ...] = (*self.steps, *self.waiting)
        return tuple(dict.fromkeys(part.node for part in parts if part.unknown))

    @property
    def away(self) -> frozenset[str]:
        """The names of the nodes that could not be read."""
        return frozenset(name for name, _ in self.unreachable)
