"""An opened platform: its inventory, and the connections to servers and nodes."""
