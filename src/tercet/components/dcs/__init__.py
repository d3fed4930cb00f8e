"""`dcs`: the stretched Consul datacenter of the leader election."""
