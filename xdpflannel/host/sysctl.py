"""Kernel settings under /proc/sys, of the network namespace that this process runs in."""

from __future__ import annotations

from pathlib import Path

from xdpflannel.errors import HostError, NotPermitted

PROC_SYS = Path("/proc/sys")


def read(name: str, *, root: Path = PROC_SYS) -> str | None:
    """Value of a setting such as "net/ipv4/ip_forward"; None if this kernel has none of that name.

    Raises:
        HostError: it is there but cannot be read.
    """
    try:
        return (root / name).read_text().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(f"cannot read setting {name}: {error.strerror}") from error


def write(name: str, value: str, *, root: Path = PROC_SYS) -> bool:
    """Set a setting; False if this kernel has none of that name, else True.

    Raises:
        NotPermitted: no right to write it, or /proc/sys is mounted read-only.
        HostError: the kernel refused the value.
    """
    try:
        # Not write_text: it would try to create a missing file, which /proc answers with a misleading error.
        with (root / name).open("r+") as setting:
            setting.write(value)
    except FileNotFoundError:
        return False
    except OSError as error:
        message = f"cannot set {name} to {value}: {error.strerror}"
        if isinstance(error, PermissionError) or error.errno == 30:
            hint = "run as root with a writable /proc/sys (in Kubernetes: privileged), or set it on the host"
            raise NotPermitted(message, hint=hint) from error
        raise HostError(message) from error
    return True


def local_port_range(*, root: Path = PROC_SYS) -> tuple[int, int]:
    """First and last local port, which is also where the kernel takes VXLAN source ports from."""
    text = read("net/ipv4/ip_local_port_range", root=root) or "32768 60999"
    first, last = text.split()
    return int(first), int(last)


def ip_forward(*, root: Path = PROC_SYS) -> bool:
    """True if this node forwards IPv4 packets."""
    return read("net/ipv4/ip_forward", root=root) == "1"
