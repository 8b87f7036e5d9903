"""Side-by-side measurements against the kernel's VXLAN."""
