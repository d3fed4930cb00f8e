"""The components of the platform, each in its own package and listed in inventory/components.py, and shared code."""
