"""flannel's subnet.env: how the CNI plugin and Docker learn this node's subnet.

Format and reading rules as flannel v0.28.9 (`WriteSubnetFile`, `ReadCIDRFromSubnetFile`).
"""

from __future__ import annotations

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from tempfile import NamedTemporaryFile

from attrs import frozen

from xdpflannel.errors import HostError, NotPermitted
from xdpflannel.model.lease import SubnetKey
from xdpflannel.model.net import IPNetwork

_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644


@frozen
class SubnetEnv:
    """Contents of the file. A family that is off has None for both of its networks.

    ``mtu`` is that of pods in bytes; ``ipmasq`` says whether the daemon masquerades (then the plugin does
    not).
    """

    network: IPv4Network | None
    subnet: IPv4Network | None
    mtu: int
    ipmasq: bool = False
    network6: IPv6Network | None = None
    subnet6: IPv6Network | None = None

    def __str__(self) -> str:
        lines = []
        if self.network is not None and self.subnet is not None:
            lines += [f"FLANNEL_NETWORK={self.network}", f"FLANNEL_SUBNET={_gateway(self.subnet)}"]
        if self.network6 is not None and self.subnet6 is not None:
            lines += [
                f"FLANNEL_IPV6_NETWORK={self.network6}",
                f"FLANNEL_IPV6_SUBNET={_gateway(self.subnet6)}",
            ]
        lines += [f"FLANNEL_MTU={self.mtu}", f"FLANNEL_IPMASQ={str(self.ipmasq).lower()}"]
        return "".join(f"{line}\n" for line in lines)


def _gateway(subnet: IPNetwork) -> str:
    # Not subnet[1]: a /32 has no second address, flannel adds one all the same.
    return f"{subnet.network_address + 1}/{subnet.prefixlen}"


def write_subnet_env(path: Path, env: SubnetEnv) -> None:
    """Write the file at once (rename): a reader sees the old one or the new one, never a part.

    Raises:
        NotPermitted, HostError: it cannot be written; the message names the file.
    """
    try:
        path.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as draft:
            written = Path(draft.name)
            try:
                draft.write(str(env))
                draft.flush()
                os.fchmod(draft.fileno(), _FILE_MODE)
                os.fsync(draft.fileno())
                written.rename(path)
            except BaseException:
                written.unlink(missing_ok=True)
                raise
    except PermissionError as error:
        raise NotPermitted(
            f"cannot write {path}: {error.strerror}", hint="run as root, or choose another --subnet-file"
        ) from error
    except OSError as error:
        raise HostError(
            f"cannot write {path}: {error.strerror}", hint="is there space, and is the folder writable?"
        ) from error


def read_variables(path: Path) -> dict[str, str]:
    """The file's ``NAME=value`` lines; empty if there is no file. Raises HostError if it cannot be read."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise HostError(f"cannot read {path}: {error.strerror}") from error
    pairs = (line.strip().partition("=") for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, found, value in pairs if found}


def read_networks(path: Path, variable: str) -> list[IPNetwork]:
    """The networks of one variable, split at commas, host bits masked away, invalid ones skipped."""
    networks: list[IPNetwork] = []
    for text in read_variables(path).get(variable, "").split(","):
        if "/" not in text:
            continue  # Go's ParseCIDR wants a length
        try:
            networks.append(ip_network(text.strip(), strict=False))
        except ValueError:
            continue
    return networks


def read_previous_subnet(path: Path) -> SubnetKey | None:
    """This node's subnet as of the last run; None if the file has none, or not exactly one per family."""
    subnets = [
        network for network in read_networks(path, "FLANNEL_SUBNET") if isinstance(network, IPv4Network)
    ]
    subnets6 = [
        network for network in read_networks(path, "FLANNEL_IPV6_SUBNET") if isinstance(network, IPv6Network)
    ]
    subnet = subnets[0] if len(subnets) == 1 else None
    subnet6 = subnets6[0] if len(subnets6) == 1 else None
    return SubnetKey(subnet, subnet6) if subnet or subnet6 else None


def read_subnet_env(path: Path) -> SubnetEnv | None:
    """The whole file; None if it is missing, incomplete or not of this format."""
    variables = read_variables(path)
    previous = read_previous_subnet(path)
    networks = read_networks(path, "FLANNEL_NETWORK")
    networks6 = read_networks(path, "FLANNEL_IPV6_NETWORK")
    mtu = variables.get("FLANNEL_MTU", "")
    if previous is None or not mtu.isdecimal():
        return None
    network = next((one for one in networks if isinstance(one, IPv4Network)), None)
    network6 = next((one for one in networks6 if isinstance(one, IPv6Network)), None)
    return SubnetEnv(
        network=network,
        subnet=previous.subnet,
        network6=network6,
        subnet6=previous.subnet6,
        mtu=int(mtu),
        ipmasq=variables.get("FLANNEL_IPMASQ") == "true",
    )
