import { compareObjects } from "../../src/build/compare-objects.ts";
import { readPair } from "../diff.ts";

/** What a process that compares pairs of objects tells about them. */
export interface PairsMeasured {
  readonly pairs: readonly {
    readonly name: string;
    readonly milliseconds: number;
    /** Of the patched object. */
    readonly bytes: number;
    readonly outcome: string;
  }[];
  /** MiB. */
  readonly peakMemory: number;
}

/** Compares pairs of a folder one after the other, extracts included, reading of files left out. */
export async function measurePairs(folder: string, names: readonly string[]): Promise<PairsMeasured> {
  const pairs: PairsMeasured["pairs"][number][] = [];
  const input = { originalName: "original", patchedName: "patched", object: "vmlinux", wantsExtract: true };
  for (const name of names) {
    const [original, patched] = await readPair(folder, name);
    const started = performance.now();
    const { result } = await compareObjects(original, patched, input);
    pairs.push({ name, milliseconds: performance.now() - started, bytes: patched.length, outcome: result.outcome });
  }
  return { pairs, peakMemory: Math.round(process.resourceUsage().maxRSS / 1024) };
}
