"""What a component declares is its own: no other one declares the same."""

from __future__ import annotations

from collections import Counter

from tercet.components.registry import notes, tables
from tercet.inventory.components import declarations
from tercet.inventory.secrets import names
from tercet.observe.snapshot import Snapshot, snapshot_model


def test_nothing_is_declared_twice() -> None:
    declared = {
        "ports": [name for each in declarations() for name in each.port_names],
        "secrets": list(names()),
        "database users": [user for each in declarations() for user in each.database_users],
        "processes": [process.name for each in declarations() for process in each.processes],
        "units whose journals are read": [journal.unit for each in declarations() for journal in each.journals],
        "keys of the snapshot": [
            *Snapshot.model_fields,
            *(key for part in (*tables(), *notes()) for key in part.keys.model_fields),
        ],
    }
    twice = {what: [name for name, n in Counter(found).items() if n > 1] for what, found in declared.items()}
    assert not {what: found for what, found in twice.items() if found}
    assert set(snapshot_model().model_fields) == set(declared["keys of the snapshot"])


def test_what_may_be_missing_in_the_snapshot_is_noted_and_what_is_shown_as_a_table_is_there() -> None:
    """Programs that read `status --json` rely on it: the schema requires the keys of tables alone."""
    assert all(field.is_required() for table in tables() for field in table.keys.model_fields.values())
    assert not [key for note in notes() for key, field in note.keys.model_fields.items() if field.is_required()]
