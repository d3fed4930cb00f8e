"""The support bundle: what happened on every node, how it is configured and what state it is in, without secrets."""
