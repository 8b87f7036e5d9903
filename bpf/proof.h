/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Flow proof: the fast path takes a flow only once the kernel was seen to forward it unchanged, so that no
 * NAT rule or policy of this node is ever bypassed (docs/flow-proof.md). Entry hooks note what goes in, exit
 * hooks confirm what comes out the same.
 */
#ifndef XF_PROOF_H
#define XF_PROOF_H

#include "include/xf/flow.h"
#include "include/xf/verdict.h"
#include "maps.h"

/* Longer than a packet spends between the hooks; what comes out later came from elsewhere. */
#define XF_FLOW_TRANSIT_NS 1000000000ULL

/*
 * A connection opens or ends. The kernel must see it, and what was proven of an older connection with the
 * same ports says nothing of the new one.
 */
xf_inline void xf_flow_turn(struct xf_flow_packet *packet)
{
	_Bool closing = packet->tcp_flags & (XF_TCP_FIN | XF_TCP_RST);
	struct xf_flow fresh = {
		.seen_ns = bpf_ktime_get_coarse_ns(),
		.flags = closing ? XF_FLOW_CLOSING : 0,
		.dscp = packet->dscp,
	};
	struct xf_flow_key key = {};
	struct xf_flow *reverse;

	xf_flow_set(&packet->key, &fresh);
	if (!closing && packet->tcp_flags & XF_TCP_ACK)
		return;
	/* A first SYN, a FIN or a RST speaks for the other direction too. */
	xf_flow_reverse(&packet->key, &key);
	reverse = xf_flow_entry(&key);
	if (!reverse)
		return;
	reverse->confirmed_ns = 0;
	reverse->trace = 0;
	reverse->flags = closing ? XF_FLOW_CLOSING : XF_FLOW_REOPENED;
}

/* At an entry hook, after all else was found right: XF_GO_ON if the flow is proven. */
xf_inline enum xf_verdict xf_flow_admit(const struct xf_config *config, const struct xf_ip4 *ip,
					const void *end)
{
	struct xf_flow_packet packet = {};
	struct xf_flow seen = {};
	struct xf_flow *flow;
	__u64 now;

	if (!(config->flags & XF_CONFIG_PROOF))
		return XF_GO_ON;
	if (!xf_flow_read(ip, end, &packet))
		return XF_UNPROVEN;
	if (xf_unlikely(packet.tcp_flags & XF_TCP_TURN)) {
		xf_flow_turn(&packet);
		return XF_UNPROVEN;
	}
	now = bpf_ktime_get_coarse_ns();
	flow = xf_flow_entry(&packet.key);
	/* Once in a while one packet takes the long way: conntrack stays alive, and a new rule counts. */
	if (xf_likely(flow && flow->confirmed_ns && flow->dscp == packet.dscp &&
		      now - flow->confirmed_ns < config->refresh_ns))
		return XF_GO_ON;
	/* The first of a batch is the one to watch: GRO may merge the others into it before they come out. */
	if (flow && !flow->confirmed_ns && flow->trace && flow->seen_ns == now && flow->dscp == packet.dscp)
		return XF_UNPROVEN;

	seen.seen_ns = now;
	seen.trace = xf_flow_trace(ip, end);
	seen.dscp = packet.dscp;
	if (flow)
		seen.flags = flow->flags & XF_FLOW_CLOSING;
	xf_flow_set(&packet.key, &seen);
	return XF_UNPROVEN;
}

/* Only where the fast path would bring it: a route, a rule or a neighbour entry may lead it elsewhere. */
xf_inline _Bool xf_flow_arrived(const struct xf_config *config, const struct xf_eth *eth,
				const struct xf_ip4 *ip, __u32 ifindex)
{
	const struct xf_route *route = xf_route_to(ip->target);
	const struct xf_outer4 *outer;
	const struct xf_pod *pod;

	if (route) {
		outer = (const void *)route->header;
		return ifindex == config->device_ifindex && xf_mac_equal(eth->dst, outer->inner.dst);
	}
	pod = xf_pod_at(ip->target);
	return pod && ifindex == pod->ifindex && xf_mac_equal(eth->dst, pod->mac);
}

/*
 * At an exit hook: what came in the same, just now, is proven. TCP only once both directions were seen: then
 * conntrack, if there is any, holds the connection as established.
 */
xf_inline void xf_flow_confirm(const struct xf_ip4 *ip, const void *end)
{
	struct xf_flow_packet packet = {};
	struct xf_flow *flow, *reverse;
	struct xf_flow_key key = {};
	struct xf_flow proven;
	__u64 now;

	if (!xf_flow_read(ip, end, &packet) || packet.tcp_flags & XF_TCP_TURN)
		return;
	now = bpf_ktime_get_coarse_ns();
	flow = xf_flow_entry(&packet.key);
	if (!flow || flow->flags || flow->dscp != packet.dscp || now - flow->seen_ns > XF_FLOW_TRANSIT_NS ||
	    flow->trace != xf_flow_trace(ip, end))
		return;
	if (packet.key.protocol == XF_IP_TCP) {
		xf_flow_reverse(&packet.key, &key);
		reverse = xf_flow_entry(&key);
		if (!reverse || reverse->flags)
			return;
	}
	/* By its key: if the entry was evicted meanwhile, its memory may already be another flow's. */
	proven = *flow;
	proven.confirmed_ns = now;
	xf_flow_set(&packet.key, &proven);
}

#endif
