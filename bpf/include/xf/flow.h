/* SPDX-License-Identifier: GPL-2.0 */
/* Which flow a packet belongs to, and what its TCP flags say of the flow's life. Pure. */
#ifndef XF_FLOW_H
#define XF_FLOW_H

#include "net.h"

#define XF_TCP_FIN 0x01
#define XF_TCP_SYN 0x02
#define XF_TCP_RST 0x04
#define XF_TCP_ACK 0x10
#define XF_TCP_TURN (XF_TCP_FIN | XF_TCP_SYN | XF_TCP_RST) /* opens or ends a connection */

#define XF_DSCP_MASK 0xfc
#define XF_TRACE_FACTOR 0x9e3779b1U /* an odd number far from powers of two: mixes words */

/* What an entry or exit hook needs of a packet. */
struct xf_flow_packet {
	struct xf_flow_key key;
	__u8 tcp_flags; /* 0 for other protocols */
	__u8 dscp;
};

/* False for what has no flow that we could follow: other protocols, ICMP errors, headers cut short. */
xf_inline _Bool xf_flow_read(const struct xf_ip4 *ip, const void *end, struct xf_flow_packet *packet)
{
	const struct xf_icmp *icmp = (const void *)(ip + 1);
	const struct xf_udp *udp = (const void *)(ip + 1);
	const struct xf_tcp *tcp = (const void *)(ip + 1);

	packet->key.source = ip->source;
	packet->key.target = ip->target;
	packet->key.protocol = ip->protocol;
	packet->dscp = ip->tos & XF_DSCP_MASK;
	if ((const void *)(udp + 1) > end)
		return 0;
	if (ip->protocol == XF_IP_ICMP) {
		packet->key.source_port = icmp->id;
		packet->key.target_port = icmp->type;
		return (icmp->type == XF_ICMP_ECHO || icmp->type == XF_ICMP_ECHO_REPLY) && !icmp->code;
	}
	packet->key.source_port = udp->source;
	packet->key.target_port = udp->target;
	if (ip->protocol == XF_IP_UDP)
		return 1;
	if (ip->protocol != XF_IP_TCP || (const void *)(tcp + 1) > end)
		return 0;
	packet->tcp_flags = tcp->flags;
	return 1;
}

/*
 * What a router leaves as it is: tells a packet from another one with the same addresses and ports. That other
 * one may be translated: a socket may talk to a service and, from the same port, to what is behind it. TCP's
 * numbers also give away rules that shift them (SYNPROXY). No checksum and no length: GRO changes both. Never 0.
 */
xf_inline __u32 xf_flow_trace(const struct xf_ip4 *ip, const void *end)
{
	const struct xf_tcp *tcp = (const void *)(ip + 1);
	const __be32 *words = (const void *)(ip + 1);
	__u32 trace = ip->id;

	if ((const void *)(words + 2) > end)
		return 1;
	if (ip->protocol == XF_IP_TCP || ip->protocol == XF_IP_ICMP)
		trace = trace * XF_TRACE_FACTOR + words[1];
	if ((const void *)(tcp + 1) > end)
		return trace | 1;
	trace = trace * XF_TRACE_FACTOR + words[2];
	if (ip->protocol != XF_IP_TCP) {
		trace = trace * XF_TRACE_FACTOR + words[3];
		trace = trace * XF_TRACE_FACTOR + words[4];
	}
	return trace | 1;
}

/* The other direction; not for ICMP, whose echo and reply differ in type. */
xf_inline void xf_flow_reverse(const struct xf_flow_key *key, struct xf_flow_key *reverse)
{
	reverse->source = key->target;
	reverse->target = key->source;
	reverse->source_port = key->target_port;
	reverse->target_port = key->source_port;
	reverse->protocol = key->protocol;
}

#endif
