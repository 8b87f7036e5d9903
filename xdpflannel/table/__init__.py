"""What the kernel should hold: leases and host facts in, a printable plan out. Pure."""
