/* SPDX-License-Identifier: GPL-2.0 */
/* The outer headers of one packet: the route's template, completed. Pure: values in, bytes out. */
#ifndef XF_ENCAP_H
#define XF_ENCAP_H

#include "csum.h"
#include "ecn.h"

/* Everything that encapsulation writes: outer headers, then the inner IP header one hop further. */
struct xf_encap4 {
	struct xf_outer4 outer;
	struct xf_ip4 ip;
	__u8 pad[4];
} __attribute__((aligned(8)));

#define XF_ENCAP4_BYTES (sizeof(struct xf_outer4) + sizeof(struct xf_ip4))

_Static_assert(sizeof(struct xf_encap4) == 88, "copied in words of eight bytes");

/* As the kernel's udp_flow_src_port(): spread flows over the local port range. */
xf_inline __be16 xf_source_port(const struct xf_config *config, __u32 hash)
{
	hash ^= hash << 16;
	return xf_htons((__u16)((((__u64)hash * config->source_port_span) >> 32) + config->source_port_min));
}

/*
 * The outer id. GRO merges at the receiver only what has ids in sequence (DF is clear), so a TCP flow's outer
 * ids follow its inner ones, which its stack counts up, also over the segments of an aggregate. Else random.
 */
xf_inline __be16 xf_outer_id(const struct xf_ip4 *ip, __u32 hash, __u32 chance)
{
	if (ip->protocol == XF_IP_TCP && ip->id)
		return xf_htons((__u16)(xf_ntohs(ip->id) + hash));
	return (__be16)chance;
}

xf_inline void xf_encap_fill(struct xf_encap4 *head, const struct xf_route *route, const struct xf_ip4 *ip,
			     __be16 source_port, __be16 id)
{
	const __u64 *template = (const void *)route->header;
	const __u32 *from = (const void *)ip;
	__u64 *to = (void *)head;
	__u32 *inner = (void *)&head->ip;
	__u16 length = xf_ntohs(ip->length);
	__u64 sum;

	/* In words: clang would copy these two-byte aligned structs by halves of a word. */
	to[0] = template[0];
	to[1] = template[1];
	to[2] = template[2];
	to[3] = template[3];
	to[4] = template[4];
	to[5] = template[5];
	to[6] = template[6];
	to[7] = template[7];
	inner[0] = from[0];
	inner[1] = from[1];
	inner[2] = from[2];
	inner[3] = from[3];
	inner[4] = from[4];

	head->outer.ip.tos = xf_ecn_encap(head->ip.tos);
	head->outer.ip.length = xf_htons((__u16)(length + XF_GROWTH));
	head->outer.ip.id = id;
	sum = (__u64)(__u16)~head->outer.ip.check + xf_htons(head->outer.ip.tos);
	sum += (__u64)head->outer.ip.length + id;
	head->outer.ip.check = (__u16)~xf_fold(sum);
	head->outer.udp.source = source_port;
	head->outer.udp.length = xf_htons((__u16)(length + XF_GROWTH - sizeof(struct xf_ip4)));
	xf_ttl_step(&head->ip);
}

#endif
