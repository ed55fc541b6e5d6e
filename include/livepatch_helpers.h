/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Macros for authors of live patches, under the names of the upstream kernel. A patch includes this header with
 *	#include <linux/livepatch_helpers.h>   or   #include "livepatch_helpers.h"
 * Each marker puts a pointer into a section that kmend reads; nothing of it stays in the patch module.
 */
#ifndef KMEND_LIVEPATCH_HELPERS_H
#define KMEND_LIVEPATCH_HELPERS_H

#include <linux/livepatch.h>
#include <linux/static_call.h>
#include <linux/syscalls.h>

#define KMEND_CALLBACK(kind, type, fn)                                                            \
	static type (*const kmend_##kind##_##fn)(struct klp_object *) __used                      \
		__section(".kmend.callbacks." #kind) = fn

/* Run before, after, before taking back and after taking back the patch of the object that the source file belongs to. */
#define KLP_PRE_PATCH_CALLBACK(fn) KMEND_CALLBACK(pre_patch, int, fn)
#define KLP_POST_PATCH_CALLBACK(fn) KMEND_CALLBACK(post_patch, void, fn)
#define KLP_PRE_UNPATCH_CALLBACK(fn) KMEND_CALLBACK(pre_unpatch, void, fn)
#define KLP_POST_UNPATCH_CALLBACK(fn) KMEND_CALLBACK(post_unpatch, void, fn)

/* An ordinary indirect call through the key of a static call. */
#define KLP_STATIC_CALL(name) ((typeof(STATIC_CALL_TRAMP(name)) *)(STATIC_CALL_KEY(name).func))

/* System calls need no macro of their own: the functions around a changed one are patched in its place. */
#define KLP_SYSCALL_DEFINE1 SYSCALL_DEFINE1
#define KLP_SYSCALL_DEFINE2 SYSCALL_DEFINE2
#define KLP_SYSCALL_DEFINE3 SYSCALL_DEFINE3
#define KLP_SYSCALL_DEFINE4 SYSCALL_DEFINE4
#define KLP_SYSCALL_DEFINE5 SYSCALL_DEFINE5
#define KLP_SYSCALL_DEFINE6 SYSCALL_DEFINE6

#endif
