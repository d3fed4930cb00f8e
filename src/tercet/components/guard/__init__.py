"""The small daemons beside Consul and Tailscale."""
