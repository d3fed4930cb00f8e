"""Containers on Proxmox servers: the API makes them, SSH to the servers reaches into them."""
