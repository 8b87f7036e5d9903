"""The node's own network: uplink, flannel.N, pods, next hops, files."""
