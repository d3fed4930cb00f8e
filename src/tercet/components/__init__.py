"""The components of the platform: a package each, named in inventory/components.py, and what they share."""
