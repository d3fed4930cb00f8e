"""`dcs`: the Consul datacenter that spans all sites, for leader election."""
