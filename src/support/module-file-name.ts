/**
 * The name under which a module is loaded: its file name without folder and suffixes, with `-` as `_` (scripts/Makefile.lib, `name-fix-token`).
 * @param path a `.ko` file, compressed or not, or a KBUILD_MODFILE such as `net/ipv4/tcp-bbr`.
 */
export function moduleName(path: string): string {
  return path
    .slice(path.lastIndexOf("/") + 1)
    .replace(/\.ko(\.(gz|xz|zst))?$/, "")
    .replaceAll("-", "_");
}
