"""Functions for the operator's own machine: programs with time limits, and a lock between its processes."""
