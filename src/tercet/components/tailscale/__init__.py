"""Tailscale on every node, and the allow-list of nodes that may use the platform's ports over it."""
