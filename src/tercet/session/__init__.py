"""A platform that is opened: what its inventory asks for, and the connections to what runs."""
