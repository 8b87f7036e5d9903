/* SPDX-License-Identifier: GPL-2.0 */
/* bcc sizes its per-CPU buffers with it. */
#define PAGE_SIZE 4096
