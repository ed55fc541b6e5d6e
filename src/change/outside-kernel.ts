/** Folders whose files never become part of a kernel image, and kinds of files that are only read by people or other tools. */
const outsideFolders = /^(Documentation|tools|samples|scripts|LICENSES|usr)\//;
const outsideKinds = /(\.(rst|txt|md|yaml|dts|dtsi|json|py|sh|pl)|(^|\/)(MAINTAINERS|CREDITS|\.\w+ignore))$/;

/** True for a file of a kernel tree that never becomes part of a kernel image. */
export function isOutsideKernel(path: string): boolean {
  return outsideFolders.test(path) || outsideKinds.test(path);
}
