// SPDX-License-Identifier: GPL-2.0
/* pod_egress: tc, ingress of the node's end of a pod's veth pair. A pod's packet goes into VXLAN here. */
#include "egress.h"
#include "tc.h"

/*
 * FIXED_GSO keeps segment sizes; the ENCAP flags tell the kernel how to cut the aggregate later; without
 * NO_CSUM_RESET a verified checksum would be thrown away and computed again.
 */
#define XF_GROW_FLAGS                                                                                        \
	(BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |             \
	 BPF_F_ADJ_ROOM_ENCAP_L2(sizeof(struct xf_eth)) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH |                      \
	 BPF_F_ADJ_ROOM_NO_CSUM_RESET)

xf_inline enum xf_verdict xf_tc_encap(struct __sk_buff *ctx, const struct xf_config *config,
				      const struct xf_route *route)
{
	struct xf_ip4 *ip = (void *)(long)ctx->data + sizeof(struct xf_eth);
	struct xf_encap4 head;
	__u32 hash;

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return XF_NONLINEAR;
	/* The hash first: once the packet has grown, it would be that of the tunnel. */
	hash = bpf_get_hash_recalc(ctx);
	xf_encap_fill(&head, route, ip, xf_source_port(config, hash),
		      xf_outer_id(ip, hash, bpf_get_prandom_u32()));
	if (bpf_skb_adjust_room(ctx, XF_GROWTH, BPF_ADJ_ROOM_MAC, XF_GROW_FLAGS))
		return XF_HELPER_REFUSED;
	if (bpf_skb_store_bytes(ctx, 0, &head, XF_ENCAP4_BYTES, 0))
		return XF_BROKEN;
	bpf_redirect(route->ifindex, 0);
	return XF_ENCAPSULATED;
}

/* Addressed to another pod's MAC, the frame looks like somebody else's to the node: make it the pod's own. */
xf_inline enum xf_verdict xf_tc_switch(struct __sk_buff *ctx, const struct xf_pod *pod)
{
	bpf_skb_change_type(ctx, XF_PACKET_HOST);
	bpf_redirect_peer(pod->ifindex, 0);
	return XF_SWITCHED;
}

XF_PROGRAM("tc") int xf_pod_egress(struct __sk_buff *ctx)
{
	const struct xf_config *config = xf_config_get();
	enum xf_verdict verdict = XF_NOT_READY;
	struct xf_way way = {};
	__u32 bytes = ctx->len;

	if (config && xf_tc_tagged(ctx)) {
		verdict = XF_NOT_IP;
	} else if (config) {
		xf_tc_linear(ctx, sizeof(struct xf_eth) + sizeof(struct xf_ip4) + sizeof(struct xf_tcp));
		verdict = xf_egress(config, (void *)(long)ctx->data, (void *)(long)ctx->data_end, bytes,
				    ctx->gso_size, ctx->ifindex, &way);
	}
	if (verdict == XF_GO_ON && way.route)
		verdict = xf_tc_encap(ctx, config, way.route);
	else if (verdict == XF_GO_ON && way.pod)
		verdict = xf_tc_switch(ctx, way.pod);
	return xf_tc_end(XF_POD_EGRESS, verdict, bytes);
}
