"""What is the metronome's own in the inventory, in a node's journal and in the image."""

from __future__ import annotations

from tercet.inventory.base import Model
from tercet.inventory.components import ComponentDeclaration, Cost, Process, Reserved
from tercet.inventory.generated import Password
from tercet.inventory.journals import UnitJournal, rules
from tercet.inventory.openings import Opening, Use
from tercet.inventory.platform import Role
from tercet.inventory.shapes import Port, Source, Version

UNITS = {"pgcat": "baton.service"}  # PgCat keeps time by a baton
BATON = Password("metronome_baton")


class MetronomePorts(Model):
    metronome: Port = 7070
    """Where it beats, on apps nodes."""


class MetronomeVersion(Model):
    metronome: Version = "4.4"


class MetronomeSource(Model):
    metronome: Source = "auto"


DECLARATION = ComponentDeclaration(
    components=("component:Metronome",),
    programs=("component:PROGRAM",),
    versions=MetronomeVersion,
    sources=MetronomeSource,
    ports=MetronomePorts,
    opens=(Opening("metronome", to=(Role.APPS,), of=(Role.DB,)),),
    uses=(Use("metronome", "postgres"),),
    gossip=("metronome",),
    secrets=(BATON,),
    database_users=("maelzel",),
    status=("status:BEATS",),
    proof="component:proof",
    additions=("additions:TEMPO", "additions:SERVICE"),
    listens=(Role.APPS,),
    processes=(Process("metronome", "metronome.service", (Role.APPS,), (Cost.APPLICATIONS,), UNITS),),
    reserved=(Reserved(Role.APPS, range(7071, 7072), "the metronome's tuning fork hums there"),),
    journals=(UnitJournal("metronome.service", "metronome", rules(("beat missed", r"^missed beat (\d+)"))),),
)
