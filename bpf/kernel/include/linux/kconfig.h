/* SPDX-License-Identifier: GPL-2.0 */
/* bcc includes this before all else; it hides its helpers unless BPF is configured. */
#define CONFIG_BPF_SYSCALL 1
