import { basename, dirname, join, relative } from "node:path";
import type { ChangedFile } from "../../change/change-set.ts";
import { isOutsideKernel } from "../../change/outside-kernel.ts";
import { type Refusal, refuse } from "../../refusals/refusals.ts";

/** The files of a change by what they are to the kernel build. */
export interface SortedFiles {
  /** C and assembly files, which may be translation units of their own. */
  readonly sources: readonly ChangedFile[];
  /** Files that units include. */
  readonly headers: readonly ChangedFile[];
  readonly makefiles: readonly ChangedFile[];
  /** Never part of a kernel image. */
  readonly outside: readonly string[];
  readonly notes: readonly string[];
}

/** Sorts the files of a change; what is none of the known kinds counts as included by some unit. */
export function sortFiles(files: readonly ChangedFile[]): SortedFiles {
  const sources: ChangedFile[] = [];
  const headers: ChangedFile[] = [];
  const makefiles: ChangedFile[] = [];
  const outside: string[] = [];
  const notes: string[] = [];
  for (const file of files) {
    const { path } = file;
    if (isOutsideKernel(path)) outside.push(path);
    else if (/\.[cS]$/.test(path)) sources.push(file);
    else if (/(^|\/)(Makefile|Kbuild)[^/]*$|\.mk$/.test(path)) makefiles.push(file);
    else if (/(^|\/)Kconfig[^/]*$/.test(path))
      notes.push(`${path}: the configuration of the running kernel stays as it is`);
    else headers.push(file);
  }
  return { sources, headers, makefiles, outside, notes };
}

/**
 * A Makefile may only gain objects that the patch itself brings.
 * @param addedObjects object files of units that the patch adds, relative to the tree.
 * @param isThere whether the unpatched tree has a file.
 */
export function checkMakefiles(
  makefiles: readonly ChangedFile[],
  addedObjects: readonly string[],
  isThere: (path: string) => boolean,
): Refusal[] {
  const refusals: Refusal[] = [];
  for (const { path, original, patched } of makefiles) {
    if (original === null || patched === null) {
      const other = kbuildFiles.map((name) => join(dirname(path), name)).find((name) => name !== path && isThere(name));
      const problem =
        patched === null
          ? `${path} is there no longer`
          : other !== undefined && `${path} is new beside ${other}, and Kbuild reads one of the two`;
      if (problem !== false)
        refusals.push(refuse("MAKEFILE", path, path, { problem: `${problem}, which may change how units are built` }));
      continue;
    }
    const added = new Set(addedObjects.flatMap((object) => [basename(object), relative(dirname(path), object)]));
    const before = wordsOf(original);
    const after = wordsOf(patched);
    const gone = [...new Set(before)].filter((word) => !after.includes(word));
    const fresh = [...new Set(after)].filter((word) => !before.includes(word) && !added.has(word));
    const isMoved = gone.length === 0 && fresh.length === 0 && !onlyGains(before, after, added);
    const problem = [
      gone.length > 0 ? `${path} no longer has ${gone.join(" ")}` : "",
      fresh.length > 0 ? `${path} now has ${fresh.join(" ")}` : "",
      isMoved ? `${path} has objects or conditions at other places` : "",
    ].filter(Boolean);
    if (problem.length > 0) {
      refusals.push(
        refuse("MAKEFILE", path, path, {
          problem: `${problem.join(", and ")}, which may change how other units are built`,
        }),
      );
    }
  }
  return refusals;
}

/** Of these Kbuild takes the first that a folder has (scripts/Kbuild.include, `kbuild-file`). */
const kbuildFiles = ["Kbuild", "Makefile"];

/** The words of a Makefile without comments, continuation marks and assignment signs. */
function wordsOf(file: Uint8Array): string[] {
  const text = Buffer.from(file).toString("utf8").replace(/#.*$/gm, "").replaceAll("\\\n", " ");
  return text.split(/\s+/).filter((word) => word !== "" && !/^(:=|\+=|=)$/.test(word));
}

/** True when `after` is `before` with added objects, and with more assignments to lists that were there. */
function onlyGains(before: readonly string[], after: readonly string[], added: ReadonlySet<string>): boolean {
  let next = 0;
  for (const word of after) {
    if (word === before[next]) next++;
    else if (!added.has(word) && !/^[\w-]+-(y|m|objs|\$\(CONFIG_\w+\))$/.test(word)) return false;
  }
  return next === before.length;
}
