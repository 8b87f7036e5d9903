/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The maps as bcc knows them. Its rewriter follows a table only in the main text and outside macros, which
 * is why the loader flattens our includes and why these are functions. XF_PINS is the folder that holds the
 * pinned maps: bcc adopts what is there without looking (the loader has looked) and creates what is not.
 */

BPF_TABLE_PINNED("array", __u32, struct xf_config, config, 1, XF_PINS "/config");
BPF_TABLE_PINNED("lpm_trie", struct xf_prefix4, struct xf_route, routes4, XF_MAX_ROUTES, XF_PINS "/routes4",
		 BPF_F_NO_PREALLOC);
BPF_TABLE_PINNED("hash", __be32, struct xf_pod, pods4, XF_MAX_PODS, XF_PINS "/pods4");
BPF_TABLE_PINNED("hash", __be32, struct xf_vtep, vteps4, XF_MAX_ROUTES, XF_PINS "/vteps4", BPF_F_NO_PREALLOC);
BPF_TABLE_PINNED("percpu_array", __u32, struct xf_counter, counters, XF_COUNTERS, XF_PINS "/counters");

BPF_TABLE_PINNED("lru_hash", struct xf_flow_key, struct xf_flow, flows4, XF_MAX_FLOWS, XF_PINS "/flows4");

xf_inline const struct xf_config *xf_config_entry(void)
{
	__u32 zero = 0;

	return config.lookup(&zero);
}

xf_inline const struct xf_route *xf_route_entry(struct xf_prefix4 *key)
{
	return routes4.lookup(key);
}

xf_inline const struct xf_pod *xf_pod_at(__be32 address)
{
	return pods4.lookup(&address);
}

xf_inline const struct xf_vtep *xf_vtep_at(__be32 address)
{
	return vteps4.lookup(&address);
}

xf_inline struct xf_counter *xf_counter_entry(__u32 index)
{
	return counters.lookup(&index);
}

xf_inline struct xf_flow *xf_flow_entry(struct xf_flow_key *key)
{
	return flows4.lookup(key);
}

xf_inline void xf_flow_set(struct xf_flow_key *key, struct xf_flow *flow)
{
	flows4.update(key, flow);
}
