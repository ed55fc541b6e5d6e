import { join } from "node:path";
import type { PreparedTree } from "../../src/kernel/tree/prepare.ts";
import { exists, writeFileAtomically } from "../../src/support/cache.ts";
import { ExitCode, KmendError } from "../../src/support/errors.ts";
import { readRecords } from "../fixes/records.ts";
import { chooseUnits } from "../mutants/choose-units.ts";

/** What every load uses; they come before those that the seed chooses. */
export const coreUnits: readonly string[] = [
  ...["fs/pipe.c", "fs/read_write.c", "fs/dcache.c", "fs/exec.c", "mm/memory.c", "kernel/signal.c"],
];

/** Bytes: a larger source takes more than half a minute to compile twice. */
const largestSource = 120_000;

/** So many units are drawn from the tree once; a run takes the first of them. */
const drawn = 600;

/**
 * The units that `--units` names: a list of sources with commas, or how many.
 * @param folder keeps what was drawn.
 * @throws KmendError `USAGE` (exit 2) for a source that is not there
 */
export async function unitsFor(words: string, tree: PreparedTree, seed: string, folder: string): Promise<string[]> {
  if (!/^\d+$/.test(words)) {
    const listed = words.split(",").filter(Boolean);
    for (const unit of listed) {
      if (await exists(join(tree.path, unit))) continue;
      throw new KmendError({ code: "USAGE", message: `the kernel has no ${unit}`, exitCode: ExitCode.usage });
    }
    return listed;
  }
  const wanted = Number(words);
  if (wanted <= coreUnits.length) return coreUnits.slice(0, wanted);
  const kept = join(folder, "drawn.jsonl");
  let random = await readRecords<string>(kept);
  if (random.length === 0) {
    const units = await chooseUnits(tree, drawn, seed, join(folder, "log"), largestSource);
    random = units.map(({ source }) => source);
    await writeFileAtomically(kept, random.map((unit) => `${JSON.stringify(unit)}\n`).join(""));
  }
  return [...coreUnits, ...random.filter((unit) => !coreUnits.includes(unit))].slice(0, wanted);
}
