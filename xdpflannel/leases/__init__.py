"""Where leases come from: etcd (or memory, in tests) as a stream of snapshots and events."""
