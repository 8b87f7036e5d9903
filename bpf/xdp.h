/* SPDX-License-Identifier: GPL-2.0 */
/* What the XDP programs share: the end of every packet, and a flow hash where there is no skb to ask. */
#ifndef XF_XDP_H
#define XF_XDP_H

#include "include/xf/inner.h"
#include "maps.h"

xf_inline int xf_xdp_end(enum xf_program program, enum xf_verdict verdict, __u32 bytes)
{
	xf_count(program, verdict, bytes);
	if (verdict <= XF_SWITCHED)
		return XDP_REDIRECT;
	return verdict >= XF_STRANGER_VTEP_DROPPED ? XDP_DROP : XDP_PASS;
}

/* Spreads flows over source ports; any good mix will do, and all packets of a flow get the same. */
xf_inline __u32 xf_xdp_hash(const struct xf_ip4 *ip, const void *end)
{
	const __u32 *ports = (const void *)(ip + 1);
	__u64 mix = (__u64)ip->source << 32 | ip->target;

	mix ^= (__u64)ip->protocol << 24;
	if (ip->protocol != XF_IP_ICMP && (const void *)(ports + 1) <= end)
		mix += (__u64)*ports * 0x9e3779b97f4a7c15ULL;
	mix ^= mix >> 32;
	mix *= 0xd6e8feb86659fd93ULL;
	mix ^= mix >> 32;
	return (__u32)mix;
}

#endif
