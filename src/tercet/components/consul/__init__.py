"""Consul: one datacenter per site, with one server each."""
