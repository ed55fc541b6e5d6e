/**
 * The C part of every patch module: it turns the tables that kmend writes (extract.ts, patch-table.ts) into the structures of
 * include/linux/livepatch.h and enables the patch. It is the same for all patches, so it is compiled once per kernel, by that kernel's Kbuild;
 * the layout of `struct klp_patch` and its parts therefore never has to be known here.
 *
 * The structures live until the module is gone: the kernel keeps pointers to them while the patch is listed.
 */
export const glueSource = `// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>

/* One redirected function. object is NULL for vmlinux. */
struct kmend_func {
	const char *object;
	const char *old_name;
	void *new_func;
	unsigned long sympos;
};

/* One callback; kind is its place in struct klp_callbacks. */
struct kmend_callback {
	const char *object;
	void *func;
	unsigned long kind;
};

/* One translation unit. */
struct kmend_unit {
	const struct kmend_func *funcs;
	unsigned long count;
	const struct kmend_callback *callbacks;
	unsigned long callback_count;
};

/* The kernel build that the module was proven for. The bounds of the notes are the running kernel's; size 0: nothing is compared. */
struct kmend_kernel {
	const u8 *notes;
	const u8 *notes_end;
	unsigned long size;
	u8 build_id[64];
};

extern const struct kmend_kernel kmend_kernel;
extern const struct kmend_unit kmend_units[];
extern const unsigned long kmend_unit_count;
extern const unsigned long kmend_replace;
extern const unsigned long kmend_stays;

static struct klp_patch kmend_patch;

static bool same_object(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

/* The entry of an object, made on first use with room for all functions. NULL when memory is short. */
static struct klp_object *object_named(struct klp_object *objs, const char *name, size_t room)
{
	struct klp_object *obj;

	for (obj = objs; obj->funcs; obj++)
		if (same_object(obj->name, name))
			return obj;
	obj->funcs = kcalloc(room, sizeof(*obj->funcs), GFP_KERNEL);
	if (!obj->funcs)
		return NULL;
	obj->name = name;
	return obj;
}

static void set_callback(struct klp_callbacks *callbacks, const struct kmend_callback *from)
{
	switch (from->kind) {
	case 0:
		callbacks->pre_patch = from->func;
		break;
	case 1:
		callbacks->post_patch = from->func;
		break;
	case 2:
		callbacks->pre_unpatch = from->func;
		break;
	case 3:
		callbacks->post_unpatch = from->func;
		break;
	}
}

static void free_structures(void)
{
	struct klp_object *obj;

	if (!kmend_patch.objs)
		return;
	for (obj = kmend_patch.objs; obj->funcs; obj++)
		kfree(obj->funcs);
	kfree(kmend_patch.objs);
	kmend_patch.objs = NULL;
}

/* An object or function array ends with a zeroed entry, so each gets one more than it may hold. */
static int make_structures(void)
{
	size_t functions = 0, entries = 0, i, j;
	struct klp_object *obj;
	struct klp_func *to;

	for (i = 0; i < kmend_unit_count; i++) {
		functions += kmend_units[i].count;
		entries += kmend_units[i].count + kmend_units[i].callback_count;
	}
	kmend_patch.objs = kcalloc(entries + 1, sizeof(*obj), GFP_KERNEL);
	if (!kmend_patch.objs)
		return -ENOMEM;

	for (i = 0; i < kmend_unit_count; i++) {
		for (j = 0; j < kmend_units[i].count; j++) {
			const struct kmend_func *from = &kmend_units[i].funcs[j];

			obj = object_named(kmend_patch.objs, from->object, functions + 1);
			if (!obj)
				return -ENOMEM;
			for (to = obj->funcs; to->old_name; to++)
				;
			to->old_name = from->old_name;
			to->new_func = from->new_func;
			to->old_sympos = from->sympos;
		}
		for (j = 0; j < kmend_units[i].callback_count; j++) {
			const struct kmend_callback *from = &kmend_units[i].callbacks[j];

			obj = object_named(kmend_patch.objs, from->object, functions + 1);
			if (!obj)
				return -ENOMEM;
			set_callback(&obj->callbacks, from);
		}
	}
	return 0;
}

/* Whoever loads the module may know nothing of build ids: insmod, kpatch, a script. */
static int __init check_kernel(void)
{
	const u8 *at = kmend_kernel.notes;
	u32 head[4];

	if (!kmend_kernel.size)
		return 0;
	/* A note: size of the owner's name, size of the content, type; here "GNU", a build id, NT_GNU_BUILD_ID. */
	for (; at + sizeof(head) <= kmend_kernel.notes_end; at += 4) {
		memcpy(head, at, sizeof(head));
		if (head[0] != 4 || head[2] != 3 || !head[1] || memcmp(&head[3], "GNU", 4))
			continue;
		at += sizeof(head);
		if (head[1] > kmend_kernel.notes_end - at)
			break;
		if (head[1] == kmend_kernel.size && !memcmp(at, kmend_kernel.build_id, head[1]))
			return 0;
		pr_err("%s: proven for the kernel build %*phN, and this is %*phN\\n", THIS_MODULE->name,
		       (int)kmend_kernel.size, kmend_kernel.build_id, (int)min_t(u32, head[1], 64), at);
		return -ENOEXEC;
	}
	pr_err("%s: proven for the kernel build %*phN, and this kernel shows none\\n", THIS_MODULE->name,
	       (int)kmend_kernel.size, kmend_kernel.build_id);
	return -ENOEXEC;
}

static int __init kmend_init(void)
{
	int ret = check_kernel();

	if (ret)
		return ret;
	kmend_patch.mod = THIS_MODULE;
	kmend_patch.replace = kmend_replace;
	ret = make_structures();
	if (!ret)
		ret = klp_enable_patch(&kmend_patch);
	if (ret)
		free_structures();
	else if (kmend_stays)
		/* Something may keep addresses of this module: it is never unloaded, whatever becomes of the patch. */
		__module_get(THIS_MODULE);
	return ret;
}

static void __exit kmend_exit(void)
{
	free_structures();
}

module_init(kmend_init);
module_exit(kmend_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
MODULE_DESCRIPTION("live patch made by kmend");
`;
