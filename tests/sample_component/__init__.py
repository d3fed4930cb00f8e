"""A component that exists only here: what a new one needs, and all that it needs."""
