/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Everything the programs share with Python, and nothing else. The mirror is xdpflannel/dataplane/abi.py;
 * tests compare both by the compiled object's BTF. A change here changes the pin path (see pins.py).
 *
 * IPv6 joins by maps of its own (routes6, pods6, vteps6): keys of IPv4 stay four bytes, for speed, and
 * every value already has room for the longer header and address.
 */
#ifndef XF_ABI_H
#define XF_ABI_H

#include "types.h"

#define XF_HEADER_MAX 88 /* Ethernet 14 + IPv6 40 + UDP 8 + VXLAN 8 + Ethernet 14 = 84, rounded up */
#define XF_HEADER_IPV4 64 /* the same with 20 bytes of IPv4 */
#define XF_VERDICTS 64
#define XF_PROGRAMS 8
#define XF_COUNTERS 512 /* one for each verdict of each program */

/* Who counted: first index of `counters`. */
enum xf_program {
	XF_POD_EGRESS = 0,
	XF_UPLINK_INGRESS = 1,
	XF_XDP_UPLINK = 2,
	XF_XDP_POD = 3,
	XF_FLOW_EXIT = 4,
};

/* xf_config.flags */
#define XF_CONFIG_READY (1U << 0) /* the other members are filled in */
#define XF_CONFIG_STRICT (1U << 1) /* drop strangers instead of leaving them to the kernel */
#define XF_CONFIG_XDP_TCP (1U << 2) /* xdp_uplink takes TCP too, instead of leaving it to GRO and tc */
#define XF_CONFIG_DECAP_L4 (1U << 3) /* the kernel knows BPF_F_ADJ_ROOM_DECAP_L4_UDP */

#define XF_CONFIG_PROOF (1U << 4) /* take a flow only once the kernel was seen to forward it unchanged */

/* xf_pod.flags */
#define XF_POD_NAPI (1U << 0) /* the pod's end takes frames redirected by XDP */

/* The only entry of `config`. Addresses are 16 bytes; IPv4 is written as ::ffff:a.b.c.d (RFC 4291 2.5.5.2). */
struct xf_config {
	__u64 refresh_ns; /* how long a flow's proof holds */
	__u32 flags;
	__u32 device_ifindex; /* flannel.N */
	__be32 vni; /* as on the wire: VNI << 8 */
	__be16 port; /* UDP destination port */
	__u16 source_port_min; /* first UDP source port, host order */
	__u16 source_port_span; /* source ports are min + [0, span) */
	__u8 vtep_mac[6]; /* MAC of flannel.N */
	__u8 uplink_mac[6]; /* MAC of the interface that carries the underlay */
	__u16 pad;
	__be32 vtep_ip[4]; /* outer address of this node */
};

/* Key of `routes4`: longest prefix match. */
struct xf_prefix4 {
	__u32 length; /* bits */
	__be32 address;
};

/*
 * One remote subnet. `header` is what goes before the inner IP packet, complete but for what differs from
 * packet to packet: outer length, id, ECN, checksum, UDP source port and length. The outer IP checksum in
 * it covers the template with these fields at zero.
 */
struct xf_route {
	__u8 header[XF_HEADER_MAX];
	__be32 vtep_ip[4]; /* outer address of the peer */
	__u32 ifindex; /* uplink towards the peer; 0 = unresolved */
	__u16 mtu; /* largest inner IP packet */
	__u16 header_length;
};

/* One local pod; key of `pods4` is its address (__be32). */
struct xf_pod {
	__u32 ifindex; /* the node's end of the pod's veth pair */
	__u32 flags;
	__u8 mac[6];
	__u8 gateway_mac[6]; /* MAC of the bridge: source of what the node routes to the pod */
	__u8 port_mac[6]; /* MAC of the node's end of the veth pair */
	__u16 mtu;
};

/* A node that holds a lease; key of `vteps4` is its outer address (__be32). */
struct xf_vtep {
	__u32 routes; /* how many of its subnets are in routes4 */
};

/*
 * Key of `flows4`: one direction of a flow, as its packets carry it. ICMP echo has its identifier for a source
 * port and its type for a target port.
 */
struct xf_flow_key {
	__be32 source;
	__be32 target;
	__be16 source_port;
	__be16 target_port;
	__u8 protocol;
	__u8 pad[3];
};

/* xf_flow.flags */
#define XF_FLOW_CLOSING (1U << 0) /* FIN or RST was seen: the rest is the kernel's */
#define XF_FLOW_REOPENED (1U << 1) /* the other direction has sent a new SYN: not seen since */

/* What is known of one direction of a flow; being there means that an entry hook has seen it. */
struct xf_flow {
	__u64 confirmed_ns; /* when an exit hook last saw it come out unchanged; 0 = not yet */
	__u64 seen_ns; /* when an entry hook last left it to the kernel */
	__u32 trace; /* tells the packet that was noted then from others of the same key; 0 = none noted */
	__u8 flags;
	__u8 dscp; /* as it came in: a rule may change it */
	__u8 pad[2];
};

/* Value of `counters`, a per-CPU array indexed by program * XF_VERDICTS + verdict. A GSO aggregate is one packet. */
struct xf_counter {
	__u64 packets;
	__u64 bytes;
};

#endif
