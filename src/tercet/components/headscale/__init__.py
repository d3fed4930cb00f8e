"""headscale, the control plane of a tailnet, on the outside world that a provider makes."""
