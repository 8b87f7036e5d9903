"""Nouns without I/O: addresses, leases, the network configuration, pods, verdicts."""
