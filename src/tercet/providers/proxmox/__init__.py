"""Containers on Proxmox servers. They are made through the API, and reached through SSH to the servers."""
