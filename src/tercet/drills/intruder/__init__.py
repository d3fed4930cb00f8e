"""`tercet drill intruder`: tries what nobody may do, from several positions, and gives a verdict for each attempt."""
