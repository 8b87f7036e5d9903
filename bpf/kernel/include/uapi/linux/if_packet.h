/* SPDX-License-Identifier: GPL-2.0 */
/* Included by bcc; nothing in it is used by our programs. */
