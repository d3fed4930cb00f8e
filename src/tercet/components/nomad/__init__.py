"""Nomad: one cluster across all sites."""
