"""What the kernel does hold: programs, maps, pins and attachments."""
