"""The inventory: what the operator writes, how it is checked, and the platform that it describes."""
