/* SPDX-License-Identifier: GPL-2.0 */
/* What the tc programs do to an skb: make room, take room away, hand it on. */
#ifndef XF_TC_H
#define XF_TC_H

#include "maps.h"

/* A tag taken off by hardware is not in the frame; the stack would treat it as VLAN, so we leave it. */
xf_inline _Bool xf_tc_tagged(struct __sk_buff *ctx)
{
	return ctx->vlan_present;
}

/*
 * Headers that a driver left in fragments are pulled together, except in aggregates: pulling from a
 * GSO_FRAGLIST one corrupts it (skb_segment() panics, projectcalico/calico#11424) and we cannot tell.
 */
xf_inline void xf_tc_linear(struct __sk_buff *ctx, __u32 bytes)
{
	if ((void *)(long)ctx->data + bytes <= (void *)(long)ctx->data_end || ctx->gso_size)
		return;
	bpf_skb_pull_data(ctx, ctx->len < bytes ? ctx->len : bytes);
}

xf_inline int xf_tc_end(enum xf_program program, enum xf_verdict verdict, __u32 bytes)
{
	xf_count(program, verdict, bytes);
	if (verdict <= XF_SWITCHED)
		return XF_TC_REDIRECT;
	return verdict >= XF_STRANGER_VTEP_DROPPED ? XF_TC_DROP : XF_TC_NEXT;
}

#endif
