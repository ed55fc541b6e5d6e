/** A fix as far as this goes. */
interface NamedFix {
  readonly cves: readonly string[];
  /** Source files that its patch changes. */
  readonly files: readonly string[];
}

/** Fixes of which no function can be told to be in a module, by the files of its functions; through a header they may be in it all the same. */
export function silentFixes<Fix extends NamedFix>(
  fixes: readonly Fix[],
  functions: readonly { readonly unit: string }[],
): Fix[] {
  const units = new Set(functions.map(({ unit }) => unit));
  return fixes.filter(({ cves, files }) => cves.length > 0 && !files.some((file) => units.has(file)));
}
