"""Control planes of tailnets: Tailscale's own and headscale. No provider owns them."""
