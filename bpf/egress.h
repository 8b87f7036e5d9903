/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From a pod: may this frame be taken, and where to? Shared by pod_egress (tc) and xdp_pod (XDP). Nothing
 * is changed here; every doubt is a verdict that leaves the frame to the kernel.
 */
#ifndef XF_EGRESS_H
#define XF_EGRESS_H

#include "include/xf/encap.h"
#include "include/xf/inner.h"
#include "maps.h"
#include "proof.h"

/* Where a frame that may be taken goes: over a route, or (route NULL) to a pod of this node. */
struct xf_way {
	const struct xf_route *route;
	const struct xf_pod *pod;
};

/* Only with its own address and MAC may a pod use the fast path. */
xf_inline enum xf_verdict xf_sender_check(const struct xf_config *config, const struct xf_eth *eth,
					  const struct xf_ip4 *ip, const struct xf_pod *source, __u32 ifindex)
{
	_Bool strict = config->flags & XF_CONFIG_STRICT;

	if (xf_likely(source && source->ifindex == ifindex && xf_mac_equal(source->mac, eth->src)))
		return XF_GO_ON;
	/* An address nobody has learned yet is a new pod; one of another node never is. */
	if (!source && !xf_route_to(ip->source))
		return XF_UNKNOWN_POD;
	return strict ? XF_FORGED_SOURCE_DROPPED : XF_FORGED_SOURCE;
}

xf_inline enum xf_verdict xf_remote_check(const struct xf_eth *eth, const struct xf_ip4 *ip, const void *end,
					  const struct xf_pod *source, const struct xf_route *route,
					  __u32 gso_size)
{
	/* A pod may still know the bridge by its port's MAC (a bridge takes the lowest MAC of its ports). */
	if (xf_unlikely(!xf_mac_equal(eth->dst, source->gateway_mac)) &&
	    !xf_mac_equal(eth->dst, source->port_mac))
		return XF_HOST_BOUND;
	if (ip->ttl <= 1)
		return XF_TTL_EXPIRED;
	if (!route->ifindex)
		return XF_UNRESOLVED;
	if (xf_ntohs(ip->length) > 0xffff - XF_GROWTH)
		return XF_OVERSIZE;
	return xf_size_check(ip, end, gso_size, route->mtu);
}

xf_inline enum xf_verdict xf_egress(const struct xf_config *config, void *data, void *end, __u32 length,
				    __u32 gso_size, __u32 ifindex, struct xf_way *way)
{
	struct xf_eth *eth = data;
	struct xf_ip4 *ip = (void *)(eth + 1);
	const struct xf_pod *source;
	enum xf_verdict verdict;

	if ((void *)(ip + 1) > end || eth->type != xf_htons(XF_ETH_IPV4) || ip->version_ihl >> 4 != 4)
		return XF_NOT_IP;

	way->route = xf_route_to(ip->target);
	way->pod = way->route ? 0 : xf_pod_at(ip->target);
	if (!way->route && !way->pod)
		return XF_NOT_OVERLAY;

	source = xf_pod_at(ip->source);
	verdict = xf_sender_check(config, eth, ip, source, ifindex);
	if (verdict != XF_GO_ON || !source)
		return verdict;
	verdict = xf_ip4_check(ip, length - sizeof(*eth));
	if (verdict != XF_GO_ON)
		return verdict;
	if (way->route) {
		verdict = xf_remote_check(eth, ip, end, source, way->route, gso_size);
		return verdict == XF_GO_ON ? xf_flow_admit(config, ip, end) : verdict;
	}

	/*
	 * Between pods of one bridge. What is addressed to the bridge instead is the node's to route; what a
	 * pod sends to itself comes back only if its port is in hairpin mode, which the bridge knows.
	 */
	if (!way->pod || way->pod->ifindex == ifindex || !xf_mac_equal(eth->dst, way->pod->mac))
		return XF_HOST_BOUND;
	verdict = xf_size_check(ip, end, gso_size, way->pod->mtu);
	return verdict == XF_GO_ON ? xf_flow_admit(config, ip, end) : verdict;
}

#endif
