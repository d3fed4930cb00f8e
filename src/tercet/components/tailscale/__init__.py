"""Tailscale on every node, and who may use the platform's ports over it."""
