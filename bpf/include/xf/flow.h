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
