import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { applyPatches, readPatchFile } from "../../src/change/patch-files.ts";
import { compileUnit, type UnitCache } from "../../src/kernel/tree/compile.ts";
import type { PreparedTree } from "../../src/kernel/tree/prepare.ts";
import { createShadow, foldersOf } from "../../src/kernel/tree/shadow.ts";
import type { UnitCommand } from "../../src/kernel/tree/unit-command.ts";
import { mapConcurrently } from "../../src/support/run.ts";

/** Where the recorded commands are run. */
export interface BareCompile {
  readonly tree: PreparedTree;
  readonly cache: UnitCache;
  /** Gets a private folder. */
  readonly scratch: string;
  readonly jobs: number;
}

/**
 * Runs nothing but the recorded compile commands of a patch's units, without and with the patch, on `jobs` cores.
 * @returns wall time in milliseconds, or undefined when a unit has no recorded command.
 */
export async function bareCompile(
  sources: readonly string[],
  patches: readonly string[],
  { tree, cache, scratch, jobs }: BareCompile,
): Promise<number | undefined> {
  const commands: UnitCommand[] = [];
  for (const source of sources) {
    const command = await cache.command(source);
    if (command === undefined || command.needsKbuild === true) return undefined;
    commands.push(command);
  }
  await mkdir(scratch, { recursive: true });
  const folder = await mkdtemp(join(scratch, "bare-"));
  try {
    const change = await applyPatches(
      await Promise.all(patches.map((patch) => readPatchFile(patch))),
      tree.path,
      join(folder, "applied"),
    );
    const files = new Map(change.files.map(({ path, patched }) => [path, patched]));
    const folders = commands.flatMap(({ object }) => foldersOf(object));
    const shadows = [join(folder, "original"), join(folder, "patched")] as const;
    createShadow(tree.path, shadows[0], new Map(), folders);
    createShadow(tree.path, shadows[1], files, folders);
    const runs = commands.flatMap((command) => shadows.map((shadow) => ({ command, shadow })));
    const started = performance.now();
    await mapConcurrently(runs, jobs, ({ command, shadow }) =>
      compileUnit(command, shadow, { logFile: join(folder, "log") }),
    );
    return Math.round(performance.now() - started);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
