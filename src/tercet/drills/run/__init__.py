"""A drill on the platform: faults made and healed, the load, the readings, all of it written into the journal."""
