/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The maps and the only functions that touch them. bcc rewrites its own table syntax and knows no BTF
 * maps, so the declarations exist once per loader; both offer the same four look-ups.
 */
#ifndef XF_MAPS_H
#define XF_MAPS_H

#include "include/xf/abi.h"
#include "include/xf/verdict.h"

_Static_assert(XF_COUNTERS == XF_PROGRAMS * XF_VERDICTS, "a counter for each verdict of each program");

#ifndef XF_MAX_ROUTES
#define XF_MAX_ROUTES 65536
#endif
#ifndef XF_MAX_PODS
#define XF_MAX_PODS 4096
#endif

#ifndef XF_MAX_FLOWS
#define XF_MAX_FLOWS 65536
#endif

#ifdef XF_BCC
#include "maps/bcc.h"
#else
#include "maps/libbpf.h"
#endif

/* The configuration, or NULL while the agent has not filled it in. */
xf_inline const struct xf_config *xf_config_get(void)
{
	const struct xf_config *config = xf_config_entry();

	return config && config->flags & XF_CONFIG_READY ? config : 0;
}

xf_inline const struct xf_route *xf_route_to(__be32 address)
{
	struct xf_prefix4 key = { .length = 32, .address = address };

	return xf_route_entry(&key);
}

/* Every packet ends here exactly once. */
xf_inline void xf_count(enum xf_program program, enum xf_verdict verdict, __u32 bytes)
{
	__u32 index = program * XF_VERDICTS + (verdict & (XF_VERDICTS - 1));
	struct xf_counter *counter = xf_counter_entry(index);

	if (!counter)
		return;
	counter->packets++;
	counter->bytes += bytes;
}

#endif
