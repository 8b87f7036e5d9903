/* SPDX-License-Identifier: GPL-2.0 */
/* The maps as libbpf and plain clang know them: BTF definitions in section .maps. */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xf_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, XF_MAX_ROUTES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct xf_prefix4);
	__type(value, struct xf_route);
} routes4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XF_MAX_PODS);
	__type(key, __be32);
	__type(value, struct xf_pod);
} pods4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XF_MAX_ROUTES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __be32);
	__type(value, struct xf_vtep);
} vteps4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XF_COUNTERS);
	__type(key, __u32);
	__type(value, struct xf_counter);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, XF_MAX_FLOWS);
	__type(key, struct xf_flow_key);
	__type(value, struct xf_flow);
} flows4 SEC(".maps");

xf_inline const struct xf_config *xf_config_entry(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&config, &zero);
}

xf_inline const struct xf_route *xf_route_entry(struct xf_prefix4 *key)
{
	return bpf_map_lookup_elem(&routes4, key);
}

xf_inline const struct xf_pod *xf_pod_at(__be32 address)
{
	return bpf_map_lookup_elem(&pods4, &address);
}

xf_inline const struct xf_vtep *xf_vtep_at(__be32 address)
{
	return bpf_map_lookup_elem(&vteps4, &address);
}

xf_inline struct xf_counter *xf_counter_entry(__u32 index)
{
	return bpf_map_lookup_elem(&counters, &index);
}

xf_inline struct xf_flow *xf_flow_entry(struct xf_flow_key *key)
{
	return bpf_map_lookup_elem(&flows4, key);
}

xf_inline void xf_flow_set(struct xf_flow_key *key, struct xf_flow *flow)
{
	bpf_map_update_elem(&flows4, key, flow, BPF_ANY);
}
