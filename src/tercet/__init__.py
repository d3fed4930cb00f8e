"""tercet turns one inventory file into a running and proven three-datacenter PostgreSQL platform."""

__version__ = "0.1.0"
