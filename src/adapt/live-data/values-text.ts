import { includeEdit } from "../shadow/rewrite.ts";
import { applyEdits, SourceText } from "../source-text.ts";

/** A value of live data as the callbacks know it. */
export interface LiveValue {
  /** As C writes it. */
  readonly expression: string;
  /** Constant expressions of C that fit 64 bits. */
  readonly before: string;
  readonly after: string;
  /** Bytes. */
  readonly size: number;
  /** True for memory that the kernel has made read-only: it is written through a mapping of its own. */
  readonly isReadOnly: boolean;
  /** `early`: before the new code is in use; `late`: when no old code is any more, as for addresses of functions. */
  readonly when: "early" | "late";
}

/** The live data of one source file. */
export interface LiveData {
  readonly path: string;
  /** True for a file of the kernel itself, false for one of a module. */
  readonly isBuiltIn: boolean;
  /** Sections of the data, whose own change is left out. */
  readonly sections: readonly string[];
  readonly values: readonly LiveValue[];
}

/** Adds the callbacks that write the values to the text of a source file. */
export function withLiveValues(text: string, data: LiveData): string {
  const source = new SourceText(data.path, text);
  const headers = ["<linux/mm.h>", "<linux/stop_machine.h>", "<linux/vmalloc.h>", '"kpatch-macros.h"'];
  const include = headers.map((header) => includeEdit(source, text.length, header));
  const [first] = include;
  const added = include.map((edit) => edit.text).join("");
  const start = first?.start ?? 0;
  const end = { start: text.length, end: text.length, text: callbacksText(data) };
  return applyEdits(text, [{ start, end: start, text: added }, end]);
}

function callbacksText({ isBuiltIn, sections, values }: LiveData): string {
  const lists = (["early", "late"] as const)
    .map((when) => ({ when, values: values.filter((value) => value.when === when) }))
    .filter((list) => list.values.length > 0);
  const parts = [
    "",
    "/*",
    " * Live data whose initial values change. A value is written only where the",
    " * running kernel has the old one, and put back only where it has the new one.",
    " */",
    ...sections.map((section) => `KPATCH_IGNORE_SECTION("${section}");`),
    "",
    helperText(
      isBuiltIn,
      values.some((value) => value.isReadOnly),
    ),
  ];
  for (const list of lists) {
    parts.push(`static struct kmend_value kmend_${list.when}_values[] = {`);
    for (const { expression, before, after, size, isReadOnly } of list.values)
      parts.push(
        `\t{ "${expression}", (void *)&${expression}, ${size}, ${isReadOnly},`,
        `\t  (unsigned long)(${before}), (unsigned long)(${after}) },`,
      );
    parts.push("};", "");
    parts.push(list.when === "early" ? earlyText : lateText);
  }
  return `${parts.join("\n")}`;
}

function helperText(isBuiltIn: boolean, isMapped: boolean): string {
  const page = isBuiltIn ? "virt_to_page(lm_alias(value->place))" : "vmalloc_to_page(value->place)";
  const map = isMapped
    ? `
/* Read-only memory is written through a mapping of its own. */
static int kmend_value_map(struct kmend_value *value)
{
	struct page *page;
	void *start;

	if (!value->read_only)
		return 0;
	page = ${page};
	start = vmap(&page, 1, VM_MAP, PAGE_KERNEL);
	if (!start)
		return -ENOMEM;
	value->mapped = start + offset_in_page(value->place);
	return 0;
}

static void kmend_value_unmap(struct kmend_value *value)
{
	if (value->mapped)
		vunmap(value->mapped - offset_in_page(value->place));
	value->mapped = NULL;
}
`
    : "";
  return `struct kmend_value {
	const char *name;
	void *place;
	unsigned int size;
	bool read_only;
	unsigned long old_value;
	unsigned long new_value;
	void *mapped;
};

struct kmend_values {
	struct kmend_value *values;
	unsigned int count;
	bool to_new;
};

static unsigned long kmend_value_get(const struct kmend_value *value)
{
	switch (value->size) {
	case 1:
		return READ_ONCE(*(u8 *)value->place);
	case 2:
		return READ_ONCE(*(u16 *)value->place);
	case 4:
		return READ_ONCE(*(u32 *)value->place);
	default:
		return READ_ONCE(*(u64 *)value->place);
	}
}

static void kmend_value_set(const struct kmend_value *value, unsigned long number)
{
	void *place = value->mapped ? value->mapped : value->place;

	switch (value->size) {
	case 1:
		WRITE_ONCE(*(u8 *)place, number);
		break;
	case 2:
		WRITE_ONCE(*(u16 *)place, number);
		break;
	case 4:
		WRITE_ONCE(*(u32 *)place, number);
		break;
	default:
		WRITE_ONCE(*(u64 *)place, number);
	}
}

/* No other processor looks meanwhile. */
static int kmend_values_exchange(void *data)
{
	const struct kmend_values *all = data;
	const struct kmend_value *value;

	for (value = all->values; value < all->values + all->count; value++) {
		if (kmend_value_get(value) == (all->to_new ? value->old_value : value->new_value))
			kmend_value_set(value, all->to_new ? value->new_value : value->old_value);
	}
	return 0;
}
${map}
static int kmend_values_write(struct kmend_value *values, unsigned int count, bool to_new)
{
	struct kmend_values all = { values, count, to_new };
	struct kmend_value *value;
	int err = 0;
${
  isMapped
    ? `
	for (value = values; value < values + count && !err; value++)
		err = kmend_value_map(value);
	if (!err)
		err = stop_machine(kmend_values_exchange, &all, NULL);
	for (value = values; value < values + count; value++)
		kmend_value_unmap(value);
`
    : `
	err = stop_machine(kmend_values_exchange, &all, NULL);
`
}	for (value = values; value < values + count; value++) {
		if (kmend_value_get(value) != (to_new ? value->new_value : value->old_value))
			pr_warn("livepatch: %s keeps another value\\n", value->name);
	}
	return err;
}
`;
}

const earlyText = `static int kmend_early_values_write(patch_object *obj)
{
	return kmend_values_write(kmend_early_values, ARRAY_SIZE(kmend_early_values), true);
}
KPATCH_PRE_PATCH_CALLBACK(kmend_early_values_write);

static void kmend_early_values_restore(patch_object *obj)
{
	kmend_values_write(kmend_early_values, ARRAY_SIZE(kmend_early_values), false);
}
KPATCH_POST_UNPATCH_CALLBACK(kmend_early_values_restore);
`;

const lateText = `/* Only once all tasks run the new code. */
static void kmend_late_values_write(patch_object *obj)
{
	kmend_values_write(kmend_late_values, ARRAY_SIZE(kmend_late_values), true);
}
KPATCH_POST_PATCH_CALLBACK(kmend_late_values_write);

static void kmend_late_values_restore(patch_object *obj)
{
	kmend_values_write(kmend_late_values, ARRAY_SIZE(kmend_late_values), false);
}
KPATCH_PRE_UNPATCH_CALLBACK(kmend_late_values_restore);
`;
