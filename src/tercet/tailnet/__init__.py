"""Clients of tailnet control planes: Tailscale's own and headscale. They are independent of the provider."""
