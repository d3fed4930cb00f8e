"""The lab: nine system containers and the world around them, on one machine, in one network namespace."""
