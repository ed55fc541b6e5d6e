import { requirements } from "../src/support/requirement-table.ts";

/** Version of kpatch's interface that kmend-compat has; Red Hat's live patches ask for 0.6.1 at least. */
export const kpatchInterface = "0.9.11";

/** Packages of whose programs kmend-compat has some. */
export const replaced = ["kpatch", "kpatch-build"] as const;

/** Debian's packages with what building and trying need, which a host does not. */
export function suggestions(): readonly string[] {
  const rows = requirements.filter(({ needs }) => needs.includes("build") || needs.includes("try"));
  const names = rows.map(({ packages }) => packages.apt.join(" | "));
  // dpkg is there anyway.
  return [...new Set(names)].filter((name) => name !== "dpkg").sort();
}
