"""Every error xdpflannel raises on purpose.

    XdpflannelError
    ├── ConfigError            flags, environment or the network configuration cannot be used
    ├── LeaseFormatError       a lease key or value cannot be read
    ├── StoreError             the lease store did not do what was asked
    │   ├── StoreUnavailable   it cannot be reached or did not answer in time
    │   ├── StoreDenied        it refused our credentials
    │   ├── StoreCompacted     the revision asked for is gone: take a new snapshot
    │   └── NetworkConfigMissing   the prefix holds no network configuration
    ├── LeaseError             this node's own lease
    │   ├── SubnetTaken        another node created the key first
    │   ├── OutOfSubnets       no free subnet is left in the network
    │   └── LeaseLost          the own lease was revoked or taken over
    ├── HostError              netlink, interfaces, routes, files of this node
    │   └── UplinkNotFound     no interface fits the selection
    ├── DataplaneError         BPF programs, maps, pins
    │   ├── ProgramRejected    compiler or verifier said no (carries the log)
    │   └── PinMismatch        a pinned object is not what its path says
    ├── Unsupported            this kernel, driver or machine cannot do it      (exit 4)
    ├── NotPermitted           a capability or privilege is missing             (exit 4)
    ├── AgentNotRunning        no daemon answers on its socket                  (exit 3)
    └── LabError               a namespace cluster could not be built or found

Every error says what failed, on which object, and what to do next.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAULT = 1
EXIT_USAGE = 2
EXIT_DEGRADED = 3
EXIT_NOT_PERMITTED = 4


class XdpflannelError(Exception):
    """Base of all deliberate errors.

    ``str(error)`` is one sentence naming the object; ``hint`` is what to do next ("" if nothing can be
    said); ``exit_code`` is the process exit status that fits it.
    """

    exit_code: int = EXIT_FAULT

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(XdpflannelError):
    """Flags, environment or the network configuration cannot be used."""


class LeaseFormatError(XdpflannelError):
    """A lease key or value cannot be read."""


class StoreError(XdpflannelError):
    """The lease store did not do what was asked."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or did not answer in time."""


class StoreDenied(StoreError):
    """The store refused our credentials."""


class StoreCompacted(StoreError):
    """The revision asked for is gone; take a new snapshot."""


class NetworkConfigMissing(StoreError):
    """The prefix holds no network configuration."""


class LeaseError(XdpflannelError):
    """Something is wrong with this node's own lease."""


class SubnetTaken(LeaseError):
    """Another node created the key first."""


class OutOfSubnets(LeaseError):
    """No free subnet is left in the network."""


class LeaseLost(LeaseError):
    """The own lease was revoked or taken over."""


class HostError(XdpflannelError):
    """The node's own network (netlink, interfaces, files) did not do what was asked."""


class UplinkNotFound(HostError):
    """No interface fits the selection."""


class DataplaneError(XdpflannelError):
    """BPF programs, maps or pins did not do what was asked."""


class ProgramRejected(DataplaneError):
    """Compiler or verifier said no; ``log`` keeps all of what it said."""

    def __init__(self, message: str, *, log: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.log = log


class PinMismatch(DataplaneError):
    """A pinned object is not what its path says."""


class Unsupported(XdpflannelError):
    """This kernel, driver or machine cannot do what was asked."""

    exit_code = EXIT_NOT_PERMITTED


class NotPermitted(XdpflannelError):
    """A capability or privilege is missing."""

    exit_code = EXIT_NOT_PERMITTED


class AgentNotRunning(XdpflannelError):
    """No daemon answers on its socket; what it pinned goes on forwarding."""

    exit_code = EXIT_DEGRADED


class LabError(XdpflannelError):
    """A namespace cluster could not be built, found or removed."""
