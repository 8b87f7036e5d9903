/* SPDX-License-Identifier: GPL-2.0 */
/* The headers of one packet after VXLAN: Ethernet towards the pod, IP one hop further. Pure. */
#ifndef XF_DECAP_H
#define XF_DECAP_H

#include "csum.h"
#include "ecn.h"

struct xf_decap4 {
	struct xf_eth eth;
	struct xf_ip4 ip;
	__u8 pad[6];
} __attribute__((aligned(8)));

#define XF_DECAP4_BYTES (sizeof(struct xf_eth) + sizeof(struct xf_ip4))

xf_inline void xf_decap_fill(struct xf_decap4 *head, const struct xf_pod *pod, const struct xf_ip4 *ip,
			     __u8 outer_tos)
{
	__u8 tos = xf_ecn_decap(outer_tos, ip->tos);

	__builtin_memcpy(head->eth.dst, pod->mac, sizeof(head->eth.dst));
	__builtin_memcpy(head->eth.src, pod->gateway_mac, sizeof(head->eth.src));
	head->eth.type = xf_htons(XF_ETH_IPV4);
	head->ip = *ip;
	if (tos != ip->tos) {
		head->ip.check = xf_csum_replace(ip->check, xf_htons(ip->tos), xf_htons(tos));
		head->ip.tos = tos;
	}
	xf_ttl_step(&head->ip);
}

#endif
