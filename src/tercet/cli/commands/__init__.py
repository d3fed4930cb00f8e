"""The commands, one module each, with the name of the command. The module's `cli` describes the command.

Importing such a module must stay cheap, because `tercet --help` imports all of them. So a command imports what it needs
only when it runs.
"""
