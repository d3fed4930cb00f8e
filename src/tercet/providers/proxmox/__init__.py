"""Containers on Proxmox servers, created through the API and reached over SSH to the servers."""
