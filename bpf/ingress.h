/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From the underlay: is this VXLAN from a node that we know, for a pod that we have? Shared by
 * uplink_ingress (tc) and xdp_uplink (XDP). Nothing is changed here.
 */
#ifndef XF_INGRESS_H
#define XF_INGRESS_H

#include "include/xf/decap.h"
#include "include/xf/inner.h"
#include "maps.h"
#include "proof.h"

/* An outer header, as ours or the kernel's sender writes it, that is addressed to this node's VTEP. */
xf_inline enum xf_verdict xf_outer_check(const struct xf_config *config, const struct xf_outer4 *outer,
					 const void *end, __u32 length)
{
	__u32 room = length - sizeof(outer->eth);
	enum xf_verdict verdict;

	if ((const void *)(&outer->ip + 1) > end || outer->eth.type != xf_htons(XF_ETH_IPV4) ||
	    outer->ip.version_ihl >> 4 != 4)
		return XF_NOT_IP;
	if (outer->ip.protocol != XF_IP_UDP || outer->ip.target != config->vtep_ip[3])
		return XF_NOT_TUNNEL;
	if (outer->ip.version_ihl != 0x45)
		return XF_IP_OPTIONS;
	if (outer->ip.fragment & xf_htons(XF_IP_FRAGMENT))
		return XF_FRAGMENT;
	if ((const void *)(&outer->udp + 1) > end || outer->udp.target != config->port ||
	    !xf_mac_equal(outer->eth.dst, config->uplink_mac))
		return XF_NOT_TUNNEL;

	verdict = xf_ip4_check(&outer->ip, room);
	if (verdict != XF_GO_ON)
		return verdict;
	if (xf_ntohs(outer->udp.length) != room - sizeof(outer->ip) ||
	    length < sizeof(*outer) + sizeof(struct xf_ip4))
		return XF_BAD_LENGTH;
	return XF_GO_ON;
}

/* The kernel drops any reserved bit, stricter than RFC 7348 (drivers/net/vxlan/vxlan_core.c). */
xf_inline enum xf_verdict xf_vxlan_check(const struct xf_config *config, const struct xf_outer4 *outer)
{
	if (outer->vxlan.flags != xf_htonl(0x08000000) || outer->vxlan.vni & xf_htonl(0xff))
		return XF_VXLAN_FLAGS;
	if (outer->vxlan.vni != config->vni)
		return XF_FOREIGN_VNI;
	if (!xf_mac_equal(outer->inner.dst, config->vtep_mac) ||
	    xf_mac_equal(outer->inner.src, config->vtep_mac) || !xf_mac_unicast(outer->inner.src))
		return XF_INNER_MAC;
	return XF_GO_ON;
}

/* Only a node that holds a lease may send, and only from its own subnet. */
xf_inline enum xf_verdict xf_peer_check(const struct xf_config *config, const struct xf_outer4 *outer,
					const struct xf_ip4 *ip)
{
	const struct xf_route *route = xf_route_to(ip->source);
	_Bool strict = config->flags & XF_CONFIG_STRICT;

	if (xf_likely(route && route->vtep_ip[3] == outer->ip.source))
		return XF_GO_ON;
	if (xf_vtep_at(outer->ip.source))
		return strict ? XF_STRANGER_SOURCE_DROPPED : XF_STRANGER_SOURCE;
	return strict ? XF_STRANGER_VTEP_DROPPED : XF_STRANGER_VTEP;
}

/*
 * Whether the payload stays protected. The outer UDP checksum is not verified here (RFC 7348 4.1 leaves
 * that to us): the inner one is, by the pod. Where the outer one is the only one, the kernel verifies it.
 */
xf_inline enum xf_verdict xf_payload_check(const struct xf_outer4 *outer, const struct xf_ip4 *ip,
					   const void *end)
{
	const struct xf_udp *udp = (const void *)(ip + 1);

	if (!outer->udp.check || ip->protocol == XF_IP_TCP || ip->protocol == XF_IP_ICMP)
		return XF_GO_ON;
	if (ip->protocol != XF_IP_UDP)
		return XF_UNSUPPORTED_PROTOCOL;
	if ((const void *)(udp + 1) > end)
		return XF_BAD_LENGTH;
	return udp->check ? XF_GO_ON : XF_UNSUPPORTED_PROTOCOL;
}

xf_inline enum xf_verdict xf_delivery_check(const struct xf_config *config, const struct xf_outer4 *outer,
					    const struct xf_ip4 *ip, const void *end,
					    const struct xf_pod *pod, __u32 gso_size)
{
	enum xf_verdict verdict;

	if (!pod)
		return XF_UNKNOWN_POD;
	if (ip->ttl <= 1)
		return XF_TTL_EXPIRED;
	verdict = xf_size_check(ip, end, gso_size, pod->mtu);
	if (verdict != XF_GO_ON)
		return verdict;
	/*
	 * Taking the tunnel off leaves its GSO type on, and a pod's UDP socket loses an aggregate that is still
	 * marked so. Kernels that know DECAP_L4_UDP clear it.
	 */
	if (gso_size && ip->protocol == XF_IP_UDP && !(config->flags & XF_CONFIG_DECAP_L4))
		return XF_UNSUPPORTED_PROTOCOL;
	if (xf_ecn_conflict(outer->ip.tos, ip->tos))
		return XF_ECN_CONFLICT;
	return xf_payload_check(outer, ip, end);
}

xf_inline enum xf_verdict xf_ingress(const struct xf_config *config, void *data, void *end, __u32 length,
				     __u32 gso_size, const struct xf_pod **pod)
{
	struct xf_outer4 *outer = data;
	struct xf_ip4 *ip = (void *)(outer + 1);
	enum xf_verdict verdict;

	verdict = xf_outer_check(config, outer, end, length);
	if (verdict != XF_GO_ON)
		return verdict;
	if ((void *)(ip + 1) > end)
		return XF_NONLINEAR;
	verdict = xf_vxlan_check(config, outer);
	if (verdict != XF_GO_ON)
		return verdict;
	if (outer->inner.type != xf_htons(XF_ETH_IPV4) || ip->version_ihl >> 4 != 4)
		return XF_INNER_NOT_IP;
	verdict = xf_peer_check(config, outer, ip);
	if (verdict != XF_GO_ON)
		return verdict;
	verdict = xf_ip4_check(ip, length - sizeof(*outer));
	if (verdict != XF_GO_ON)
		return verdict;
	*pod = xf_pod_at(ip->target);
	verdict = xf_delivery_check(config, outer, ip, end, *pod, gso_size);
	return verdict == XF_GO_ON ? xf_flow_admit(config, ip, end) : verdict;
}

#endif
