"""The gateway: admits devices to rounds and hands exact sums to the coordinator."""
