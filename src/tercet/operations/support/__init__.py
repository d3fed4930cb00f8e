"""The support bundle: logs, configuration and state of every node, without secrets."""
