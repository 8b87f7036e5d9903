// SPDX-License-Identifier: GPL-2.0
/* uplink_ingress: tc, ingress of the uplink, after GRO. VXLAN comes off here, in aggregates too. */
#include "ingress.h"
#include "tc.h"

#define XF_SHRINK_FLAGS (BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET)

/* Clears the tunnel's GSO type, so that a pod may forward the aggregate (newer than the UAPI headers here). */
#define XF_DECAP_L4_UDP (1U << 10)

xf_inline enum xf_verdict xf_tc_decap(struct __sk_buff *ctx, const struct xf_config *config,
				      const struct xf_pod *pod)
{
	struct xf_outer4 *outer = (void *)(long)ctx->data;
	struct xf_ip4 *ip = (void *)(outer + 1);
	__u64 flags = XF_SHRINK_FLAGS;
	struct xf_decap4 head = {};

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return XF_NONLINEAR;
	if (config->flags & XF_CONFIG_DECAP_L4)
		flags |= XF_DECAP_L4_UDP;
	xf_decap_fill(&head, pod, ip, outer->ip.tos);
	if (bpf_skb_adjust_room(ctx, -(__s32)XF_GROWTH, BPF_ADJ_ROOM_MAC, flags))
		return XF_HELPER_REFUSED;
	/* "Verified" meant the outer checksum; the inner one is the next level, or unverified. */
	bpf_csum_level(ctx, BPF_CSUM_LEVEL_DEC);
	if (bpf_skb_store_bytes(ctx, 0, &head, XF_DECAP4_BYTES, 0))
		return XF_BROKEN;
	bpf_redirect_peer(pod->ifindex, 0);
	return XF_DECAPSULATED;
}

XF_PROGRAM("tc") int xf_uplink_ingress(struct __sk_buff *ctx)
{
	const struct xf_config *config = xf_config_get();
	enum xf_verdict verdict = XF_NOT_READY;
	const struct xf_pod *pod = 0;
	__u32 bytes = ctx->len;

	if (config && xf_tc_tagged(ctx)) {
		verdict = XF_NOT_IP;
	} else if (config) {
		xf_tc_linear(ctx, sizeof(struct xf_outer4) + sizeof(struct xf_ip4) + sizeof(struct xf_tcp));
		verdict = xf_ingress(config, (void *)(long)ctx->data, (void *)(long)ctx->data_end, bytes,
				     ctx->gso_size, &pod);
	}
	if (verdict == XF_GO_ON && pod)
		verdict = xf_tc_decap(ctx, config, pod);
	return xf_tc_end(XF_UPLINK_INGRESS, verdict, bytes);
}
