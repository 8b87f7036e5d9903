// SPDX-License-Identifier: GPL-2.0
/*
 * flow_exit: tc, egress of flannel.N and of the node's end of every pod's veth pair: where the kernel's path
 * ends. Passes everything; what it sees come out as it came in, it confirms.
 */
#include "proof.h"
#include "tc.h"

XF_PROGRAM("tc") int xf_flow_exit(struct __sk_buff *ctx)
{
	const struct xf_config *config = xf_config_get();
	struct xf_eth *eth;
	struct xf_ip4 *ip;
	void *end;

	/* The fast path would not have tagged it. */
	if (!config || xf_tc_tagged(ctx))
		return XF_TC_NEXT;
	xf_tc_linear(ctx, sizeof(*eth) + sizeof(*ip) + sizeof(struct xf_tcp));
	eth = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > end || eth->type != xf_htons(XF_ETH_IPV4) || ip->version_ihl != 0x45 ||
	    ip->fragment & xf_htons(XF_IP_FRAGMENT))
		return XF_TC_NEXT;
	if (xf_flow_arrived(config, eth, ip, ctx->ifindex))
		xf_flow_confirm(ip, end);
	return XF_TC_NEXT;
}
