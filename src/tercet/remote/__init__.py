"""Programs on other machines over SSH: logins, host keys, commands that end in time, and a lock on several servers."""
