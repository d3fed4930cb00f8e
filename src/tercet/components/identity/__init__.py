"""Whose nodes these are. An operator with other secrets, or whose inventory misses a lost site, is refused."""
