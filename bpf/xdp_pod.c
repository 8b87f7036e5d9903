// SPDX-License-Identifier: GPL-2.0
/* xdp_pod: XDP, the node's end of a pod's veth pair. For pods that send frames rather than streams. */
#include "egress.h"
#include "xdp.h"

xf_inline enum xf_verdict xf_xdp_encap(struct xdp_md *ctx, const struct xf_config *config,
				       const struct xf_route *route)
{
	struct xf_ip4 *ip = (void *)(long)ctx->data + sizeof(struct xf_eth);
	void *end = (void *)(long)ctx->data_end;
	struct xf_encap4 head;
	void *data;
	__u32 hash;

	if ((void *)(ip + 1) > end)
		return XF_NOT_IP;
	hash = xf_xdp_hash(ip, end);
	xf_encap_fill(&head, route, ip, xf_source_port(config, hash),
		      xf_outer_id(ip, hash, bpf_get_prandom_u32()));
	if (bpf_xdp_adjust_head(ctx, -(__s32)XF_GROWTH))
		return XF_HELPER_REFUSED;
	data = (void *)(long)ctx->data;
	if (data + XF_ENCAP4_BYTES > (void *)(long)ctx->data_end)
		return XF_BROKEN;
	__builtin_memcpy(data, &head, XF_ENCAP4_BYTES);
	bpf_redirect(route->ifindex, 0);
	return XF_ENCAPSULATED;
}

xf_inline enum xf_verdict xf_xdp_leave(const struct xf_way *way, void *data, void *end)
{
	struct xf_ip4 *ip = data + sizeof(struct xf_eth);

	if ((void *)(ip + 1) > end)
		return XF_NOT_IP;
	if (way->pod && !(way->pod->flags & XF_POD_NAPI))
		return XF_NO_NAPI;
	return xf_xdp_checksum_check(ip, end);
}

XF_PROGRAM("xdp") int xf_xdp_pod(struct xdp_md *ctx)
{
	const struct xf_config *config = xf_config_get();
	void *end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	enum xf_verdict verdict = XF_NOT_READY;
	__u32 bytes = end - data;
	struct xf_way way = {};

	if (config)
		verdict = xf_egress(config, data, end, bytes, 0, ctx->ingress_ifindex, &way);
	if (verdict == XF_GO_ON)
		verdict = xf_xdp_leave(&way, data, end);
	if (verdict == XF_GO_ON && way.route) {
		verdict = xf_xdp_encap(ctx, config, way.route);
	} else if (verdict == XF_GO_ON && way.pod) {
		bpf_redirect(way.pod->ifindex, 0);
		verdict = XF_SWITCHED;
	}
	return xf_xdp_end(XF_XDP_POD, verdict, bytes);
}
