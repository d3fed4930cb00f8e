"""Writes JSON and YAML for components, always with the same bytes for the same data."""

from __future__ import annotations

import json
from collections.abc import Mapping

import yaml

# Both give the same bytes. libyaml's, if PyYAML was built with it, takes a tenth of the time.
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def as_json(data: Mapping[str, object]) -> bytes:
    """Indented JSON with a newline at its end. Keys keep their order."""
    return (json.dumps(data, indent=2) + "\n").encode()


def as_yaml(data: Mapping[str, object]) -> bytes:
    """Block-style YAML. Keys keep their order."""
    return yaml.dump(data, Dumper=_DUMPER, sort_keys=False, default_flow_style=False).encode()
