/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Headers as they lie on the wire, with nothing assumed about alignment beyond two bytes. Our own, because
 * bcc compiles without the kernel's headers and because the kernel's bit fields hide what is compared.
 */
#ifndef XF_NET_H
#define XF_NET_H

#include "abi.h"
#include "types.h"

#define XF_ETH_IPV4 0x0800

#define XF_IP_FRAGMENT 0x3fff /* more-fragments flag and offset */

#define XF_ICMP_ECHO_REPLY 0
#define XF_ICMP_ECHO 8

#define XF_IP_ICMP 1
#define XF_IP_TCP 6
#define XF_IP_UDP 17

struct xf_eth {
	__u8 dst[6];
	__u8 src[6];
	__be16 type;
};

struct xf_ip4 {
	__u8 version_ihl;
	__u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment; /* flags and offset */
	__u8 ttl;
	__u8 protocol;
	__u16 check;
	__be32 source;
	__be32 target;
} __attribute__((packed, aligned(2)));

struct xf_udp {
	__be16 source;
	__be16 target;
	__be16 length;
	__u16 check;
};

struct xf_icmp {
	__u8 type;
	__u8 code;
	__u16 check;
	__be16 id;
	__be16 sequence;
};

struct xf_tcp {
	__be16 source;
	__be16 target;
	__be32 sequence;
	__be32 acknowledged;
	__u8 offset; /* header length in words, upper four bits */
	__u8 flags;
	__be16 window;
	__u16 check;
	__be16 urgent;
} __attribute__((packed, aligned(2)));

struct xf_vxlan {
	__be32 flags;
	__be32 vni; /* VNI << 8, low byte reserved */
} __attribute__((packed, aligned(2)));

/* Everything VXLAN over IPv4 puts before the inner IP packet: 64 bytes. */
struct xf_outer4 {
	struct xf_eth eth;
	struct xf_ip4 ip;
	struct xf_udp udp;
	struct xf_vxlan vxlan;
	struct xf_eth inner;
};

#define XF_GROWTH ((__u32)(sizeof(struct xf_outer4) - sizeof(struct xf_eth)))

_Static_assert(sizeof(struct xf_outer4) == XF_HEADER_IPV4, "outer headers over IPv4 are 64 bytes");

xf_inline _Bool xf_mac_equal(const __u8 *a, const __u8 *b)
{
	const __u16 *x = (const __u16 *)a;
	const __u16 *y = (const __u16 *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]));
}

/* As the kernel's is_valid_ether_addr(): no group bit, not all zero. */
xf_inline _Bool xf_mac_unicast(const __u8 *mac)
{
	const __u16 *x = (const __u16 *)mac;

	return !(mac[0] & 1) && (x[0] | x[1] | x[2]);
}

#endif
