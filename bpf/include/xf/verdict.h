/* SPDX-License-Identifier: GPL-2.0 */
/* What happened to a packet. Generated from verdict.def by scripts/generate; do not edit. */
#ifndef XF_VERDICT_H
#define XF_VERDICT_H

enum xf_verdict {
	XF_ENCAPSULATED = 0, /* sent to a peer node in VXLAN */
	XF_DECAPSULATED = 1, /* taken out of VXLAN and given to a local pod */
	XF_SWITCHED = 2, /* handed to another pod of the same node */
	XF_NOT_IP = 3, /* not an IPv4 frame: ARP, IPv6, VLAN tagged, or cut short */
	XF_NOT_TUNNEL = 4, /* came in on the uplink, but is not VXLAN for this node */
	XF_NOT_OVERLAY = 5, /* the destination is in no other node's subnet and no local pod */
	XF_NOT_READY = 6, /* the configuration map is still empty */
	XF_HOST_BOUND = 7, /* comes from or goes to the node itself */
	XF_IP_OPTIONS = 8, /* the IP header carries options */
	XF_FRAGMENT = 9, /* an IP fragment */
	XF_TTL_EXPIRED = 10, /* the time to live ends here: the kernel answers with ICMP */
	XF_BAD_LENGTH = 11, /* lengths in the headers do not fit the frame */
	XF_BAD_CHECKSUM = 12, /* the IP header checksum is wrong: the kernel drops and counts it */
	XF_OVERSIZE = 13, /* larger than the path: the kernel fragments it or answers with ICMP */
	XF_UNRESOLVED = 14, /* the next hop towards the peer has no known MAC, or its lease is being replaced */
	XF_UNKNOWN_POD = 15, /* the pod's address is not learned yet */
	XF_ECN_CONFLICT = 16, /* outer header says congestion, inner cannot: the kernel drops and counts it */
	XF_NONLINEAR = 17, /* headers are not in the linear part of the packet */
	XF_CHECKSUM_UNFINISHED = 18, /* the checksum is left to hardware, which a redirect by XDP would skip */
	XF_NO_NAPI = 19, /* the pod's interface cannot take frames from XDP */
	XF_LEFT_TO_GRO = 20, /* TCP, left by XDP to GRO and tc */
	XF_UNSUPPORTED_PROTOCOL = 21, /* a protocol whose checksum or segmentation the fast path does not know */
	XF_HELPER_REFUSED = 22, /* the kernel's helper refused to make or remove room */
	XF_UNPROVEN = 23, /* the flow has not been seen passing the kernel unchanged */
	XF_VXLAN_FLAGS = 24, /* VXLAN with reserved bits set: the kernel drops and counts it */
	XF_FOREIGN_VNI = 25, /* VXLAN of another network */
	XF_INNER_MAC = 26, /* the inner frame is not addressed to this node's VTEP, or comes from it */
	XF_INNER_NOT_IP = 27, /* the inner frame is not IPv4 */
	XF_STRANGER_VTEP = 32, /* VXLAN from an address that holds no lease */
	XF_STRANGER_SOURCE = 33, /* the inner source is not in the sending node's subnet */
	XF_FORGED_SOURCE = 34, /* a pod sent with an address or MAC that is not its own */
	XF_STRANGER_VTEP_DROPPED = 40, /* VXLAN from an address that holds no lease (--strict) */
	XF_STRANGER_SOURCE_DROPPED = 41, /* the inner source is not in the sending node's subnet (--strict) */
	XF_FORGED_SOURCE_DROPPED = 42, /* a pod sent with an address or MAC that is not its own (--strict) */
	XF_BROKEN = 43, /* changed, then could not be finished; never expected, please report */

	XF_GO_ON = 255, /* no verdict yet: the packet may still be taken */
};

#endif
