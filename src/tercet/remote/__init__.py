"""Runs programs on other machines over SSH: logins, host keys, commands with time limits, and a lock on several
servers.
"""
