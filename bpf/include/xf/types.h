/* SPDX-License-Identifier: GPL-2.0 */
/* What both compilers must agree on before anything else: integer types, helpers, byte order, attributes. */
#ifndef XF_TYPES_H
#define XF_TYPES_H

#ifdef XF_BCC
/* bcc brings helpers, SEC and the integer types by its own built-in header. */
#include <uapi/linux/bpf.h>
#include <linux/types.h>
#else
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#endif

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#define xf_inline static __always_inline
#define xf_likely(x) __builtin_expect(!!(x), 1)
#define xf_unlikely(x) __builtin_expect(!!(x), 0)

/* Constants fold; registers become one byte-swap instruction on little-endian machines. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define xf_htons(x) ((__be16)__builtin_bswap16(x))
#define xf_ntohs(x) ((__u16)__builtin_bswap16(x))
#define xf_htonl(x) ((__be32)__builtin_bswap32(x))
#else
#define xf_htons(x) ((__be16)(x))
#define xf_ntohs(x) ((__u16)(x))
#define xf_htonl(x) ((__be32)(x))
#endif

#define XF_TC_REDIRECT 7 /* what bpf_redirect() and bpf_redirect_peer() return in tc */
#define XF_TC_NEXT (-1) /* TC_ACT_UNSPEC / TCX_NEXT: let the next program on the hook decide */
#define XF_TC_DROP 2 /* TC_ACT_SHOT */

#define XF_PACKET_HOST 0 /* skb->pkt_type: for us */

#endif
