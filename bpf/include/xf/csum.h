/* SPDX-License-Identifier: GPL-2.0 */
/* Ones' complement sums (RFC 1071): verify a header, change a field, recognise an unfinished checksum. */
#ifndef XF_CSUM_H
#define XF_CSUM_H

#include "net.h"

xf_inline __u16 xf_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

/* Sum of a 20 byte IPv4 header; 0xffff if its checksum is right. */
xf_inline __u16 xf_ip4_sum(const struct xf_ip4 *ip)
{
	const __u32 *word = (const __u32 *)ip;

	return xf_fold((__u64)word[0] + word[1] + word[2] + word[3] + word[4]);
}

/* RFC 1624: the checksum after a 16 bit word went from `was` to `is`. */
xf_inline __u16 xf_csum_replace(__u16 check, __u16 was, __u16 is)
{
	return (__u16)~xf_fold((__u64)(__u16)~check + (__u16)~was + is);
}

/* One hop further, by the same arithmetic as the kernel's ip_decrease_ttl(), so that the bits agree. */
xf_inline void xf_ttl_step(struct xf_ip4 *ip)
{
	__u32 check = ip->check;

	check += xf_htons(0x0100);
	ip->check = (__u16)(check + (check >= 0xffff));
	ip->ttl--;
}

/*
 * CHECKSUM_PARTIAL as a sender's stack leaves it: the field holds the folded, not inverted sum of the
 * pseudo header (RFC 9293 3.1), for hardware to finish. A finished checksum equals it once in 65,536
 * packets; those take the kernel's path and lose nothing.
 */
xf_inline _Bool xf_csum_unfinished(const struct xf_ip4 *ip, __u16 check)
{
	__u64 sum = (__u64)ip->source + ip->target;

	sum += xf_htons((__u16)(xf_ntohs(ip->length) - sizeof(*ip)));
	sum += xf_htons(ip->protocol);
	return xf_fold(sum) == check;
}

#endif
