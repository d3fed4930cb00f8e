"""The commands, one module each, named like the command; the module's `cli` says everything about it.

Importing such a module must stay cheap, for `tercet --help` imports them all: what a command works with is
imported where it runs.
"""
