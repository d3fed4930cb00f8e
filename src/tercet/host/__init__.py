"""What runs on the operator's own machine: programs with time limits, and a lock among its processes."""
