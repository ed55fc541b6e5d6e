/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The macros of kpatch's patch author guide under their own names; see livepatch_helpers.h for what they do. */
#ifndef KMEND_KPATCH_MACROS_H
#define KMEND_KPATCH_MACROS_H

#include <linux/jiffies.h>
#include <linux/printk.h>
#include "livepatch_helpers.h"

typedef struct klp_object patch_object;

#define KPATCH_PRE_PATCH_CALLBACK(fn) KLP_PRE_PATCH_CALLBACK(fn)
#define KPATCH_POST_PATCH_CALLBACK(fn) KLP_POST_PATCH_CALLBACK(fn)
#define KPATCH_PRE_UNPATCH_CALLBACK(fn) KLP_PRE_UNPATCH_CALLBACK(fn)
#define KPATCH_POST_UNPATCH_CALLBACK(fn) KLP_POST_UNPATCH_CALLBACK(fn)

/* The author knows that a changed section, or function, needs no patching. */
#define KPATCH_IGNORE_SECTION(name)                                                               \
	static const char __PASTE(kmend_ignored_section_, __LINE__)[] __used                      \
		__section(".kmend.ignore.sections") = name
#define KPATCH_IGNORE_FUNCTION(fn)                                                                \
	static void *const kmend_ignored_##fn __used __section(".kmend.ignore.functions") = (void *)fn

/*
 * gcc moves code before a call of a cold function out of line, and other functions of the unit may change with it. A condition that is always true,
 * and that the compiler does not know to be so, keeps it in place.
 */
#define KPATCH_PRINTK(fmt, ...)                                                                   \
	({                                                                                        \
		if (jiffies)                                                                      \
			printk(fmt, ##__VA_ARGS__);                                               \
	})
#define KPATCH_PRINTK_DEFERRED(fmt, ...)                                                          \
	({                                                                                        \
		if (jiffies)                                                                      \
			printk_deferred(fmt, ##__VA_ARGS__);                                      \
	})

#define KPATCH_STATIC_CALL(name) KLP_STATIC_CALL(name)

#endif
