"""tercet: one inventory file in, a running and proven three-datacenter PostgreSQL platform out."""

__version__ = "0.1.0"
