"""xdpflannel: a flannel overlay, forwarded by eBPF."""

__version__ = "0.1.0"
