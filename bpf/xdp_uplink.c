// SPDX-License-Identifier: GPL-2.0
/* xdp_uplink: XDP, the uplink. VXLAN comes off before the kernel has built an skb. */
#include "ingress.h"
#include "xdp.h"

/* What XDP, unlike tc, cannot take. */
xf_inline enum xf_verdict xf_xdp_take_check(const struct xf_config *config, void *data, void *end,
					    const struct xf_pod *pod)
{
	struct xf_ip4 *ip = data + sizeof(struct xf_outer4);

	if ((void *)(ip + 1) > end)
		return XF_BAD_LENGTH;
	if (ip->protocol == XF_IP_TCP && !(config->flags & XF_CONFIG_XDP_TCP))
		return XF_LEFT_TO_GRO;
	if (!(pod->flags & XF_POD_NAPI))
		return XF_NO_NAPI;
	return xf_xdp_checksum_check(ip, end);
}

xf_inline enum xf_verdict xf_xdp_decap(struct xdp_md *ctx, const struct xf_pod *pod)
{
	struct xf_outer4 *outer = (void *)(long)ctx->data;
	struct xf_ip4 *ip = (void *)(outer + 1);
	struct xf_decap4 head = {};
	void *data;

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return XF_BAD_LENGTH;
	xf_decap_fill(&head, pod, ip, outer->ip.tos);
	if (bpf_xdp_adjust_head(ctx, XF_GROWTH))
		return XF_HELPER_REFUSED;
	data = (void *)(long)ctx->data;
	if (data + XF_DECAP4_BYTES > (void *)(long)ctx->data_end)
		return XF_BROKEN;
	__builtin_memcpy(data, &head, XF_DECAP4_BYTES);
	bpf_redirect(pod->ifindex, 0);
	return XF_DECAPSULATED;
}

XF_PROGRAM("xdp") int xf_xdp_uplink(struct xdp_md *ctx)
{
	const struct xf_config *config = xf_config_get();
	void *end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	enum xf_verdict verdict = XF_NOT_READY;
	const struct xf_pod *pod = 0;
	__u32 bytes = end - data;

	if (config)
		verdict = xf_ingress(config, data, end, bytes, 0, &pod);
	if (verdict == XF_GO_ON && pod)
		verdict = xf_xdp_take_check(config, data, end, pod);
	if (verdict == XF_GO_ON && pod)
		verdict = xf_xdp_decap(ctx, pod);
	return xf_xdp_end(XF_XDP_UPLINK, verdict, bytes);
}
