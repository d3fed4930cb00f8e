"""The firewall of every node: other nodes reach only what a component opens for them, and strangers nothing."""
