"""Nomad: one cluster over all sites."""
