"""What must hold for Nomad while the fault lasts."""

from __future__ import annotations

from tercet.components.nomad import component as nomad
from tercet.converge.component import Passing, Readings, State, Waiting
from tercet.drills.run.live import Look, Scene, ask, lasting, observed, running_on
from tercet.inventory.platform import Role


@observed("nomad keeps a leader")
def _nomad_leads(scene: Scene) -> Look:
    asked = ask(scene, "nomad.leader", scene.nomad("status/leader"))
    for node in scene.controls:
        asked[node.name]["nomad.servers"] = scene.nomad("agent/members")

    def check(readings: Readings) -> State:
        leaders = {node.name: nomad.leader_of(readings, [node.name]) for node in scene.controls}
        unled = [name for name, leader in leaders.items() if not leader]
        if unled or len(set(leaders.values())) != 1:
            return Waiting(f"{', '.join(unled)} know no leader" if unled else "the servers disagree on the leader")
        address = next(iter(leaders.values())).rpartition(":")[0]
        servers = nomad.servers_of(readings, scene.controls[0].name)
        name = next((server for server, (_, at) in servers.items() if at == address), address)
        if name in scene.victims:
            return Waiting(f"{name}, which is gone, is still named as leader")
        return Passing(f"{name} leads")

    return lasting(check), asked


@observed("nomad server seen as failed")
def _nomad_failed(scene: Scene) -> Look:
    asked = ask(scene, "nomad.servers", scene.nomad("agent/members"))
    lost = [scene.platform.at(site, Role.CONTROL).name for site in sorted(scene.down)]

    def check(readings: Readings) -> State:
        if not lost:
            return Waiting("the faults hit no Nomad server")
        for node in scene.controls:
            servers = nomad.servers_of(readings, node.name)
            for name in lost:
                status = servers.get(name, ("unknown", ""))[0]
                if status != "failed":
                    return Waiting(f"{node.name} sees {name} as {status}")
        return Passing(f"{', '.join(lost)} failed")

    return check, asked


@observed("allocations run elsewhere", budget="reschedule", job=True)
def _runs_elsewhere(scene: Scene) -> Look:
    asked = ask(scene, "allocations", scene.nomad(f"job/{scene.job}/allocations"))

    def check(readings: Readings) -> State:
        for node in scene.controls:
            running = running_on(readings, node.name)
            elsewhere = [name for name in running if name not in scene.victims]
            if elsewhere:
                return Passing(f"on {', '.join(elsewhere)}")
        return Waiting("the job that ran at the lost site runs nowhere else")

    return check, asked
