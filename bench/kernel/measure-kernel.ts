import { stat } from "node:fs/promises";
import type { EntrySizes } from "../../src/diff/special-sections/tables.ts";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { KernelImage } from "../../src/kernel/image/kernel-image.ts";
import { Btf } from "../../src/kernel/types/btf.ts";
import { BtfKind } from "../../src/kernel/types/btf-format.ts";
import { matchUnit } from "../../src/match/match-unit.ts";
import { VmlinuxObject } from "../../src/match/vmlinux-object.ts";
import { readPair } from "../diff.ts";

/** Milliseconds of one look at a kernel image in a process of its own. */
export interface ImageMeasured {
  /** Unpacking it, or finding the unpacked one. */
  readonly open: number;
  /** Symbols, types and sections, until one of each was looked up. */
  readonly index: number;
  /** MiB of the unpacked image. */
  readonly size: number;
  readonly symbols: number;
  readonly types: number;
  /** MiB. */
  readonly peakMemory: number;
}

/** Opens an image with a cache folder, which may have it from before. */
export async function measureImage(path: string, cache: string): Promise<ImageMeasured> {
  const started = performance.now();
  const image = await KernelImage.open(path, cache);
  const opened = performance.now();
  const kallsyms = image.kallsyms();
  const [schedule] = kallsyms.indicesOf("schedule");
  const btf = new Btf(image.btf ?? new Uint8Array(0), path);
  const task = btf.find(BtfKind.struct, "task_struct").length;
  const section = image.sectionAt(kallsyms.addressOf(schedule as number));
  if (task === 0 || section === undefined) throw new Error(`${path} has no task_struct, or no schedule()`);
  return {
    ...{ open: opened - started, index: performance.now() - opened },
    size: Math.round((await stat(image.unpacked.path)).size / 2 ** 20),
    ...{ symbols: kallsyms.count, types: btf.count, peakMemory: Math.round(process.resourceUsage().maxRSS / 1024) },
  };
}

/** Milliseconds of proving one unit. */
export interface MatchMeasured {
  readonly name: string;
  /** Reading the object into atoms. */
  readonly read: number;
  readonly match: number;
  readonly functions: number;
  readonly matched: number;
}

/** Matches the originals of pairs of a folder that are part of the image. */
export async function measureMatches(
  path: string,
  cache: string,
  pairs: string,
  names: readonly string[],
): Promise<MatchMeasured[]> {
  const target = new VmlinuxObject(await KernelImage.open(path, cache), path);
  const entrySizes: EntrySizes = {};
  const measured: MatchMeasured[] = [];
  for (const name of names) {
    const [object] = await readPair(pairs, name);
    const started = performance.now();
    const unit = await readUnitObject(object, entrySizes);
    const parsed = performance.now();
    const { functionCount, matchedCount } = await matchUnit(unit, target);
    const match = performance.now() - parsed;
    // Units of modules have their functions elsewhere.
    if (matchedCount * 2 < functionCount) continue;
    measured.push({ name, read: parsed - started, match, functions: functionCount, matched: matchedCount });
  }
  return measured;
}
