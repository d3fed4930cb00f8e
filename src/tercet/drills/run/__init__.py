"""Runs a drill on the platform: makes and heals faults, runs the load, and writes everything into the journal."""
