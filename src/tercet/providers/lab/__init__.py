"""The lab: nine system containers and the outside world, on one machine, in one network namespace."""
