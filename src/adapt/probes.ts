import { releases } from "./allocators.ts";

/** Texts of the assertions that fail where a probe finds something. */
export const probeTexts = { size: "kmend: size", end: "kmend: end of object" } as const;

/**
 * A header that makes the compiler tell where the size of `struct tag` is taken, and where one is given back: each such place fails a static assertion.
 * `sizeof` with a type or an expression in parentheses is a macro then; the word itself is not replaced again inside of it.
 */
export function probeHeader(
  tag: string,
  ownHeaders: readonly string[] = ["linux/slab.h", "linux/vmalloc.h", "linux/mempool.h", "linux/device.h"],
): string {
  const isType = (of: string): string => `__builtin_types_compatible_p(__typeof__(${of}), struct ${tag})`;
  const fails = (of: string, text: string): string =>
    `sizeof(struct { _Static_assert(!${isType(of)}, "${text}"); int kmend; })`;
  const ends = Object.entries(releases).map(([name, { object }]) => {
    const before = ["", "kmend_a, "][object] ?? "";
    return `#undef ${name}\n#define ${name}(${before}kmend_o, ...) ((void)(kmend_o), (void)${fails("*(kmend_o)", probeTexts.end)})\n`;
  });
  return `struct ${tag};
${ownHeaders.map((name) => `#include <${name}>\n`).join("")}${ends.join("")}#define sizeof(...) (sizeof(__VA_ARGS__) + 0 * ${fails("__VA_ARGS__", probeTexts.size)})
`;
}

/** A member that changes nothing of a struct but that no object of it can be assigned to. */
export const constantMember = "const char kmend_constant[0]; ";
