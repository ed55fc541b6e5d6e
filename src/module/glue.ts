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

/* The functions of one translation unit. */
struct kmend_unit {
	const struct kmend_func *funcs;
	unsigned long count;
};

extern const struct kmend_unit kmend_units[];
extern const unsigned long kmend_unit_count;
extern const unsigned long kmend_replace;

static struct klp_patch kmend_patch;

static bool same_object(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static struct klp_object *find_object(struct klp_object *objs, size_t count, const char *name)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (same_object(objs[i].name, name))
			return &objs[i];
	return NULL;
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

/* An object or function array ends with a zeroed entry, so each gets one more than it holds. */
static int make_structures(void)
{
	size_t total = 0, object_count = 0, i, j;
	struct klp_object *objs;

	for (i = 0; i < kmend_unit_count; i++)
		total += kmend_units[i].count;
	objs = kcalloc(total + 1, sizeof(*objs), GFP_KERNEL);
	if (!objs)
		return -ENOMEM;
	kmend_patch.objs = objs;

	for (i = 0; i < kmend_unit_count; i++) {
		for (j = 0; j < kmend_units[i].count; j++) {
			const struct kmend_func *from = &kmend_units[i].funcs[j];
			struct klp_object *obj = find_object(objs, object_count, from->object);
			struct klp_func *to;

			if (!obj) {
				obj = &objs[object_count];
				obj->name = from->object;
				obj->funcs = kcalloc(total + 1, sizeof(*obj->funcs), GFP_KERNEL);
				if (!obj->funcs)
					return -ENOMEM;
				object_count++;
			}
			for (to = obj->funcs; to->old_name; to++)
				;
			to->old_name = from->old_name;
			to->new_func = from->new_func;
			to->old_sympos = from->sympos;
		}
	}
	return 0;
}

static int __init kmend_init(void)
{
	int ret;

	kmend_patch.mod = THIS_MODULE;
	kmend_patch.replace = kmend_replace;
	ret = make_structures();
	if (!ret)
		ret = klp_enable_patch(&kmend_patch);
	if (ret)
		free_structures();
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
