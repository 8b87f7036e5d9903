"""The agent's state as a document: written by `agent`, read over its socket by `cli` and `lab`.

``schema`` grows by one when a member changes its meaning or disappears; new members do not change it. Times
are seconds since the epoch.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from xdpflannel.errors import XdpflannelError

SCHEMA = 1


class UplinkState(msgspec.Struct, frozen=True, kw_only=True):
    """The interface that carries the underlay."""

    name: str
    ifindex: int
    mac: str
    mtu: int
    address: str
    public_ip: str
    driver: str = ""


class DeviceState(msgspec.Struct, frozen=True, kw_only=True):
    """flannel.N, the kernel's own path."""

    name: str
    ifindex: int
    mac: str
    mtu: int
    vni: int
    port: int


class OwnLeaseState(msgspec.Struct, frozen=True, kw_only=True):
    """This node's lease; ``expires_at`` is None for a reservation (a key without a TTL)."""

    subnet: str
    expires_at: float | None = None


class AttachmentState(msgspec.Struct, frozen=True, kw_only=True):
    """One program on one interface."""

    program: str
    hook: str
    """``tcx``, ``clsact`` or ``xdp``."""
    interface: str
    ifindex: int
    mode: str = ""
    """``native`` or ``generic`` for XDP, else empty."""


class StoreState(msgspec.Struct, frozen=True, kw_only=True):
    """Where leases come from and whether it answers. Holds no credentials."""

    kind: str
    up: bool
    endpoints: list[str] = []
    detail: str = ""
    last_event_at: float | None = None
    resyncs: int = 0


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many of each the agent holds."""

    leases: int = 0
    routes: int = 0
    pods: int = 0
    skipped: int = 0
    """Lease entries of the last snapshot that could not be read."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One named condition of readiness."""

    name: str
    ok: bool
    detail: str = ""


class AgentState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything ``xdpflannel status`` shows."""

    schema: int = SCHEMA
    instance: str
    version: str
    pid: int
    started_at: float
    role: str
    datapath_wanted: str
    datapath: list[str] = []
    """Programs in use, empty while only the kernel forwards."""
    reasons: list[str] = []
    """Sentences: why ``auto`` chose what it chose."""
    bypass: str
    strict: bool
    loader: str
    abi: str
    pin_dir: str
    uplink: UplinkState | None = None
    device: DeviceState | None = None
    lease: OwnLeaseState | None = None
    attachments: list[AttachmentState] = []
    store: StoreState
    counts: Counts = Counts()
    checks: list[Check] = []
    ready: bool = False


class LeaseState(msgspec.Struct, frozen=True, kw_only=True):
    """One lease as the agent knows it."""

    subnet: str
    public_ip: str | None = None
    backend_type: str = ""
    vtep_mac: str | None = None
    vni: int | None = None
    expires_at: float | None = None
    own: bool = False


class SkippedState(msgspec.Struct, frozen=True, kw_only=True):
    """A store entry that could not be read; it removed nothing."""

    key: str
    reason: str


class LeasesState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything ``xdpflannel leases`` shows."""

    schema: int = SCHEMA
    leases: list[LeaseState] = []
    skipped: list[SkippedState] = []


def encode(document: AgentState | LeasesState) -> bytes:
    """Return the document as JSON."""
    return msgspec.json.encode(document)


def decode_state(raw: bytes) -> AgentState:
    """Read what /state answered; XdpflannelError if it is of another schema or no state at all."""
    return _decode(raw, _AGENT)


def decode_leases(raw: bytes) -> LeasesState:
    """Read what /leases answered; XdpflannelError if it is of another schema or no such document."""
    return _decode(raw, _LEASES)


Document = TypeVar("Document", AgentState, LeasesState)


class _Versioned(msgspec.Struct):
    schema: int = 0


# Made here, not at first use: two threads that make msgspec look at a type for the first time, at the same
# time, can crash the process (seen with msgspec 0.22: what the one has half built, the other reads).
_VERSION = msgspec.json.Decoder(_Versioned)
_AGENT = msgspec.json.Decoder(AgentState)
_LEASES = msgspec.json.Decoder(LeasesState)


def _decode(raw: bytes, decoder: msgspec.json.Decoder[Document]) -> Document:
    try:
        schema = _VERSION.decode(raw).schema
        if schema == SCHEMA:
            return decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise XdpflannelError(f"the agent's answer cannot be read: {error}", hint=_HINT) from error
    raise XdpflannelError(f"the agent speaks schema {schema}, this command schema {SCHEMA}", hint=_HINT)


_HINT = "use the xdpflannel command of the same version as the running xdpflanneld"
