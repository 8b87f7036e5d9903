/* SPDX-License-Identifier: GPL-2.0 */
/* Congestion marks through a tunnel: RFC 6040, normal mode, as the kernel's inet_ecn.h does it. */
#ifndef XF_ECN_H
#define XF_ECN_H

#include "types.h"

#define XF_ECN_MASK 3
#define XF_ECN_NONE 0
#define XF_ECN_ECT1 1
#define XF_ECN_ECT0 2
#define XF_ECN_CE 3

/* ECN bits of the outer header; a mark made before the tunnel stays inside (CE goes out as ECT(0)). */
xf_inline __u8 xf_ecn_encap(__u8 inner_tos)
{
	__u8 ecn = inner_tos & XF_ECN_MASK;

	return ecn == XF_ECN_CE ? XF_ECN_ECT0 : ecn;
}

/* True where RFC 6040 wants the packet dropped: congestion seen, but the inner flow cannot be told. */
xf_inline _Bool xf_ecn_conflict(__u8 outer_tos, __u8 inner_tos)
{
	return (outer_tos & XF_ECN_MASK) == XF_ECN_CE && (inner_tos & XF_ECN_MASK) == XF_ECN_NONE;
}

/* The inner TOS byte after the tunnel; call only without a conflict. */
xf_inline __u8 xf_ecn_decap(__u8 outer_tos, __u8 inner_tos)
{
	__u8 outer = outer_tos & XF_ECN_MASK;
	__u8 inner = inner_tos & XF_ECN_MASK;

	if (outer == XF_ECN_CE)
		return inner_tos | XF_ECN_CE;
	if (outer == XF_ECN_ECT1 && inner == XF_ECN_ECT0)
		return (__u8)((inner_tos & ~XF_ECN_MASK) | XF_ECN_ECT1);
	return inner_tos;
}

#endif
