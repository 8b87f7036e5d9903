/* SPDX-License-Identifier: GPL-2.0 */
/* bcc chooses helper signatures by it; the running kernel's version matters to tracing programs only. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#ifndef LINUX_VERSION_CODE
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 15, 0)
#endif
