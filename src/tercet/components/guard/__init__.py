"""tercet's small daemons for Consul and Tailscale."""
