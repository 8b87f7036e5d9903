// SPDX-License-Identifier: GPL-2.0
/* All programs in one object, so that they share their maps. */
#include "include/xf/types.h"

#ifdef XF_BCC
/* bcc finds programs by themselves and puts each in a section of its own. */
#define XF_PROGRAM(section)
#else
#define XF_PROGRAM(section) SEC(section)
char _license[] SEC("license") = "GPL";
#endif

#include "flow_exit.c"
#include "pod_egress.c"
#include "uplink_ingress.c"
#include "xdp_pod.c"
#include "xdp_uplink.c"
