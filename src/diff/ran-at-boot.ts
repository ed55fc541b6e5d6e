/**
 * Tells of functions that ran when the object came up and whose code is another with the patch, though their text is not.
 * @param functions by name, the section of each.
 * @param object `vmlinux` or the module's name.
 */
export function ranAtBootNotes(functions: ReadonlyMap<string, string>, unitPath: string, object: string): string[] {
  const when = object === "vmlinux" ? "at boot" : "when the module was loaded";
  return [...functions].map(
    ([name, section]) =>
      `${unitPath}: ${name} ran ${when} with the old code (${section}), and the patch does not repeat it`,
  );
}
