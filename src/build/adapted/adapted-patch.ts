import { relative } from "node:path";
import { createTwoFilesPatch } from "diff";
import type { Assumption } from "../../adapt/adaptation.ts";
import type { ChangeSet } from "../../change/change-set.ts";

/**
 * The text of an adapted patch: what it rests on, for its reader, then the differences.
 * @param root folder that the names of files are relative to.
 */
export function adaptedPatchText(
  { files, patches }: ChangeSet,
  assumptions: readonly Assumption[],
  root = ".",
): Buffer {
  const names = patches.map(({ name }) => name).join(", ");
  const lines = [
    `Adapted from ${names} so that it can be live: it changes no layout of data`,
    "that the running kernel has. What it rests on, each with its place in the",
    "kernel's source with the patch:",
    "",
    ...assumptions.map((assumption) => `* ${assumptionText(assumption)}`),
    "",
    "",
  ];
  const differences = files.map(({ path, original, patched }) => {
    const name = relative(root, path);
    const [before, after] = [original, patched].map((content) => Buffer.from(content ?? "").toString("latin1"));
    const oldName = original === null ? "/dev/null" : `a/${name}`;
    const newName = patched === null ? "/dev/null" : `b/${name}`;
    const text = createTwoFilesPatch(oldName, newName, before ?? "", after ?? "", "", "", { context: 3 });
    return text.replace(/^=+\n/, "").replace(/^(---|\+\+\+) (.*?)\t\n/gm, "$1 $2\n");
  });
  return Buffer.from(`${lines.join("\n")}${differences.join("")}`, "latin1");
}

/** One assumption as one line. */
export function assumptionText({ what, file, line, text }: Assumption): string {
  return `${what}: ${text} (${file}${line > 0 ? `:${line}` : ""})`;
}
