import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { sha256 } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { walk } from "../support/find-files.ts";
import { run } from "../support/run.ts";
import { type ChangedFile, type ChangeSet, changedFile, readOriginal, type SourceOverlay } from "./change-set.ts";

/** A change with the text of a patch that says the same. */
export interface TextualChange {
  readonly change: ChangeSet;
  readonly text: Buffer;
  /** Files of the user's that it was read from; the newest of their times is the time of the change. */
  readonly inputs: readonly string[];
}

/**
 * Reads a change from edited copies beside the files of a source tree: `kernel/sys.c.fixed` for the extension `.fixed`. A copy without an original is
 * a new file.
 * @param original folder with the original files.
 * @param earlier what differs from these before the change already.
 * @throws KmendError `EXTENSION` (exit 2) for an extension that no file has.
 */
export async function readExtension(
  tree: string,
  extension: string,
  original: string,
  earlier: SourceOverlay,
  signal?: AbortSignal,
): Promise<TextualChange> {
  const quoted = extension.replaceAll(/[*?[\]\\]/g, "\\$&");
  const args = [tree, "-name", ".git", "-prune", "-o", "-type", "f", "-name", `?*${quoted}`, "-printf", "%P\\0"];
  const found = (await walk("find", args, { signal })).stdout.split("\0").filter((path) => path !== "");
  if (found.length === 0) throw extensionError(`no file in ${tree} has a name that ends in ${extension}`);
  // `fixed` for `.fixed` would make sys.c.fixed a new file `sys.c.`, which no kernel builds.
  const cut = found.find((path) => path.slice(0, -extension.length).endsWith("."));
  if (cut !== undefined) throw extensionError(`${cut} without "${extension}" ends in a dot, as no source file does`);
  const files: ChangedFile[] = [];
  const texts: string[] = [];
  for (const copy of found.sort()) {
    const path = copy.slice(0, -extension.length);
    const before = await readOriginal(original, path, earlier);
    const [file] = changedFile(path, before, await readFile(join(tree, copy)));
    if (file === undefined) continue;
    files.push(file);
    texts.push(await unifiedDiff(path, before, join(tree, copy), signal));
  }
  const text = Buffer.from(texts.join(""), "utf8");
  return {
    change: { files, patches: [{ name: `${basename(tree)}${extension}`, sha256: sha256(text) }], notes: [] },
    text,
    inputs: found.map((copy) => join(tree, copy)),
  };
}

/** @throws KmendError `EXTENSION_NAME` (exit 2) for an extension that no file can have. */
export function requireExtension(extension: string): void {
  if (extension === "" || extension.includes("/")) {
    throw extensionError(`"${extension}" cannot be the end of a file's name`, "EXTENSION_NAME");
  }
}

/** Diff of content with a file; diff(1) ends with 1 when there are differences. */
async function unifiedDiff(
  path: string,
  before: Uint8Array | null,
  after: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  const labels = [`--label=${before === null ? "/dev/null" : `a/${path}`}`, `--label=b/${path}`];
  const result = await run("diff", ["-u", "-a", ...labels, "-", after], {
    input: before ?? "",
    allowFailure: true,
    signal,
  });
  if (result.exitCode === 0 || result.exitCode === 1) return result.stdout;
  throw extensionError(`${after} cannot be compared: ${result.stderr.trim()}`);
}

function extensionError(message: string, code = "EXTENSION"): KmendError {
  return new KmendError({
    code,
    message,
    hint: "copy the file to FILE.EXT, edit the copy, and give .EXT with --diffext",
    exitCode: ExitCode.usage,
  });
}
