"""Consul: one datacenter a site, one server each."""
