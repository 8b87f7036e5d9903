/* SPDX-License-Identifier: GPL-2.0 */
/* What must hold for an IPv4 packet before it is taken: plain header, right lengths, fitting segments. */
#ifndef XF_INNER_H
#define XF_INNER_H

#include "csum.h"
#include "verdict.h"

/* A header without options, not a fragment, whose lengths and checksum fit. `room`: bytes from `ip` on. */
xf_inline enum xf_verdict xf_ip4_check(const struct xf_ip4 *ip, __u32 room)
{
	if (ip->version_ihl != 0x45)
		return XF_IP_OPTIONS;
	if (ip->fragment & xf_htons(XF_IP_FRAGMENT))
		return XF_FRAGMENT;
	if (xf_ntohs(ip->length) != room)
		return XF_BAD_LENGTH;
	if (xf_ip4_sum(ip) != 0xffff)
		return XF_BAD_CHECKSUM;
	return XF_GO_ON;
}

/*
 * The largest IP packet on the wire must fit `mtu`. A GSO packet will be cut into segments of `gso_size`
 * payload bytes, each under a copy of the headers (skb_gso_network_seglen() in the kernel).
 */
xf_inline enum xf_verdict xf_size_check(const struct xf_ip4 *ip, const void *end, __u32 gso_size, __u32 mtu)
{
	const struct xf_tcp *tcp = (const void *)(ip + 1);
	__u32 headers;

	if (!gso_size)
		return xf_ntohs(ip->length) > mtu ? XF_OVERSIZE : XF_GO_ON;

	if (ip->protocol == XF_IP_TCP) {
		if ((const void *)(tcp + 1) > end)
			return XF_NONLINEAR;
		headers = (tcp->offset >> 4) * 4;
	} else if (ip->protocol == XF_IP_UDP) {
		headers = sizeof(struct xf_udp);
	} else {
		return XF_UNSUPPORTED_PROTOCOL;
	}
	return sizeof(*ip) + headers + gso_size > mtu ? XF_OVERSIZE : XF_GO_ON;
}

/*
 * A redirect by XDP forgets that a checksum was left to hardware, and the frame would be dropped at the far
 * end. Only protocols that we can tell this of may go.
 */
xf_inline enum xf_verdict xf_xdp_checksum_check(const struct xf_ip4 *ip, const void *end)
{
	const struct xf_udp *udp = (const void *)(ip + 1);
	const struct xf_tcp *tcp = (const void *)(ip + 1);

	if (ip->protocol == XF_IP_ICMP)
		return XF_GO_ON;
	if (ip->protocol == XF_IP_TCP) {
		if ((const void *)(tcp + 1) > end)
			return XF_BAD_LENGTH;
		return xf_csum_unfinished(ip, tcp->check) ? XF_CHECKSUM_UNFINISHED : XF_GO_ON;
	}
	if (ip->protocol != XF_IP_UDP)
		return XF_UNSUPPORTED_PROTOCOL;
	/* The sum covers UDP's own length: where the two disagree, it could not be recognised. */
	if ((const void *)(udp + 1) > end || xf_ntohs(udp->length) != xf_ntohs(ip->length) - sizeof(*ip))
		return XF_BAD_LENGTH;
	return xf_csum_unfinished(ip, udp->check) ? XF_CHECKSUM_UNFINISHED : XF_GO_ON;
}

#endif
