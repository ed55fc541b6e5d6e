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
  const isMapped = values.some((value) => value.isReadOnly);
  const parts = [
    "",
    "/*",
    " * Live data whose initial values change. A value is written only where the",
    " * running kernel has the old one, and put back only where it has the new one.",
    " */",
    ...sections.map((section) => `KPATCH_IGNORE_SECTION("${section}");`),
    "",
    "static bool kmend_to_new;",
    "",
    exchangeText,
    ...(isMapped ? [mapText(isBuiltIn)] : []),
  ];
  for (const when of ["early", "late"] as const) {
    const own = values.filter((value) => value.when === when);
    if (own.length > 0) parts.push(writeText(when, own), when === "early" ? earlyText : lateText);
  }
  return parts.join("\n");
}

const exchangeText = `#define KMEND_EXCHANGE(type, place, at, old, new)				\\
do {									\\
	type was = (type)(kmend_to_new ? (old) : (new));		\\
	type becomes = (type)(kmend_to_new ? (new) : (old));		\\
									\\
	if (READ_ONCE(*(type *)(place)) == was)				\\
		WRITE_ONCE(*(type *)(at), becomes);			\\
	else if (READ_ONCE(*(type *)(place)) != becomes)		\\
		kmend_kept++;						\\
} while (0)

/* Values that are neither the old nor the new one, and stay. */
static unsigned int kmend_kept;
`;

/** Read-only memory is written through a mapping of its own. */
function mapText(isBuiltIn: boolean): string {
  const page = isBuiltIn ? "virt_to_page(lm_alias(place))" : "vmalloc_to_page(place)";
  return `/* Read-only memory is written through a mapping of its own. */
static void *kmend_map(void *place)
{
	struct page *page = ${page};
	void *start = vmap(&page, 1, VM_MAP, PAGE_KERNEL);

	return start ? start + offset_in_page(place) : NULL;
}

static void kmend_unmap(void *alias)
{
	if (alias)
		vunmap((void *)((unsigned long)alias & PAGE_MASK));
}
`;
}

function writeText(when: LiveValue["when"], values: readonly LiveValue[]): string {
  const mapped = values.filter(({ isReadOnly }) => isReadOnly);
  const alias = (value: LiveValue): string => `kmend_${when}_alias[${mapped.indexOf(value)}]`;
  const lines = mapped.length > 0 ? [`static void *kmend_${when}_alias[${mapped.length}];`, ""] : [];
  lines.push("/* No other processor looks meanwhile. */", `static int kmend_${when}_exchange(void *unused)`, "{");
  for (const value of values) {
    const at = value.isReadOnly ? alias(value) : `&${value.expression}`;
    const [before, after] = [value.before, value.after].map((text) => `(unsigned long)(${text})`);
    lines.push(`\tKMEND_EXCHANGE(u${8 * value.size}, &${value.expression}, ${at},`, `\t\t       ${before}, ${after});`);
  }
  lines.push("\treturn 0;", "}", "", `static int kmend_${when}_write(bool to_new)`, "{", "\tint err = 0;", "");
  lines.push("\tkmend_to_new = to_new;", "\tkmend_kept = 0;");
  for (const value of mapped) {
    lines.push(`\t${alias(value)} = kmend_map((void *)&${value.expression});`);
    lines.push(`\tif (!${alias(value)})`, "\t\terr = -ENOMEM;");
  }
  lines.push("\tif (!err)", `\t\terr = stop_machine(kmend_${when}_exchange, NULL, NULL);`);
  for (const value of mapped) lines.push(`\tkmend_unmap(${alias(value)});`, `\t${alias(value)} = NULL;`);
  lines.push(
    "\tif (kmend_kept)",
    '\t\tpr_warn("livepatch: %u values that were changed meanwhile stay\\n", kmend_kept);',
    "\tif (err)",
    '\t\tpr_err("livepatch: live data keeps its values (%d)\\n", err);',
    ...["\treturn err;", "}", ""],
  );
  return lines.join("\n");
}

/** Names of variables of the callbacks, which hold nothing that lasts. */
export const liveValueNames: ReadonlySet<string> = new Set([
  ...["kmend_to_new", "kmend_kept", "kmend_early_alias", "kmend_late_alias"],
]);

const earlyText = `static int kmend_early_patch(patch_object *obj)
{
	return kmend_early_write(true);
}
KPATCH_PRE_PATCH_CALLBACK(kmend_early_patch);

static void kmend_early_unpatch(patch_object *obj)
{
	kmend_early_write(false);
}
KPATCH_POST_UNPATCH_CALLBACK(kmend_early_unpatch);
`;

const lateText = `/* Only once all tasks run the new code. */
static void kmend_late_patch(patch_object *obj)
{
	kmend_late_write(true);
}
KPATCH_POST_PATCH_CALLBACK(kmend_late_patch);

static void kmend_late_unpatch(patch_object *obj)
{
	kmend_late_write(false);
}
KPATCH_PRE_UNPATCH_CALLBACK(kmend_late_unpatch);
`;
