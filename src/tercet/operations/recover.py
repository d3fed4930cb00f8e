"""`consul recover`: brings back a datacenter's only Consul server when it is dead or has lost its data.

The specification gives each datacenter one server, so only a person can decide to give up its data. The datacenter's
own catalogue and KV store are lost. The agents of the site register again by themselves. PostgreSQL's leader election
is in `dcs` and not affected.
"""

from __future__ import annotations

from collections.abc import Mapping

from tercet.components.consul.access import of_site
from tercet.components.consul.component import DATA, Consul
from tercet.components.consul.declaration import UNIT
from tercet.converge.component import Condition, Passing
from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Unreachable
from tercet.converge.gates import wait_for
from tercet.converge.observe import ask
from tercet.converge.requests import Request
from tercet.datafile import text_of
from tercet.errors import TercetError
from tercet.inventory.platform import Role
from tercet.operations.tokens import create_tokens
from tercet.session.session import Session, operator

# The server elects itself and joins its clients within seconds. If that fails, a client tries the failed server every
# 30 s with probability 1/2 (serf's reconnect). This is enough for four attempts.
RECOVER_S = 120.0
FORGET = text_of(__package__, "recover-forget.sh", UNIT=UNIT, DATA=DATA)


async def recover(session: Session, site: str, emit: Emit, *, force: bool) -> str:
    """Start the site's Consul server with empty data and wait until its datacenter works. Returns the condition's
    detail.

    Refuses a working datacenter unless `force`. Raises TercetError with what is still wrong.
    """
    names = [each.name for each in session.platform.sites]
    if site not in names:
        raise TercetError(f"there is no site {site}: expected one of {', '.join(names)}")
    control = session.platform.at(site, Role.CONTROL).name
    datacenter = session.platform.site(site).datacenter
    component = Consul(session.context)
    condition = component.leads(site)
    asked: dict[str, Mapping[str, Request]] = {control: component.questions(session.platform.node(control))}
    async with session.provider.lock(operator(f"consul recover {site}")):
        state = condition.check(await ask(session.provider, asked, timeout=10))
        if isinstance(state, Passing) and not force:
            raise TercetError(
                f"{datacenter} works: nothing to recover. With --force, its catalogue and KV store are lost"
            )
        emit(Event("consul", "started", f"{control} starts with empty data"))
        try:
            done = await session.provider.run(control, ("sh", "-c", FORGET), timeout=30)
        except Unreachable as error:
            raise TercetError(f"{error}. Raise the node first: `tercet apply`, then recover") from error
        if done.status != 0:
            said = done.stderr.decode(errors="replace").strip() or f"exit status {done.status}"
            raise TercetError(
                f"expected {UNIT} on {control} to start with empty data, found: {said}. Look at it with `tercet exec "
                f"{control} -- systemctl status {UNIT}`, then recover again"
            )
        await create_tokens(session, of_site(session.context, session.platform.site(site)))
        detail = await _works_again(session, condition, asked)
        emit(Event("consul", "done", f"{datacenter} works again"))
    return detail


async def _works_again(session: Session, condition: Condition, asked: Mapping[str, Mapping[str, Request]]) -> str:
    [(_, state)] = await wait_for([condition], asked, session.provider, deadline=RECOVER_S)
    if not isinstance(state, Passing):
        raise TercetError(f"the server runs, but after {RECOVER_S:g} s {condition.title} does not hold: {state.reason}")
    return state.detail
