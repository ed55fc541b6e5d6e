import { mkdir, mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { moduleName } from "../../src/support/module-file-name.ts";
import { chooseAccelerator } from "../../src/vm/kvm-probe.ts";
import { indexModules, type ModuleIndex, resolveModules } from "../../src/vm/module-dependencies.ts";
import { inspectPatchModuleFor } from "../../src/vm/patch-module.ts";
import { appendRecord, type FixRecord, readRecords, type TryRecord } from "./records.ts";
import { moduleNameOf, modulePath } from "./run-fix.ts";
import { blameLast, judgeSeries } from "./series-verdict.ts";
import { runSeries } from "./try-series.ts";

/** A module that waits for its try. */
export interface Candidate {
  readonly id: string;
  /** As the kernel knows it. */
  readonly name: string;
  readonly module: string;
  readonly staysInMemory: boolean;
  /** Plain files of the modules to load first, in this order. */
  readonly targets: readonly string[];
}

export interface TryFixesOptions {
  readonly kernel: TargetKernel;
  readonly built: readonly FixRecord[];
  /** File of try records; modules that are in it are not tried again. */
  readonly records: string;
  /** Folder with the modules. */
  readonly output: string;
  readonly onRecord: (record: TryRecord, done: number) => void;
}

/** Modules for one boot: so many, or files of so many bytes together. */
const perBoot = 24;
const bytesPerBoot = 200 * 2 ** 20;

/** Loads, waits for, takes back and unloads every built module, many in each boot. A guest that dies marks the module it died with. */
export async function tryFixes(options: TryFixesOptions): Promise<TryRecord[]> {
  const { kernel, built } = options;
  const known = new Map((await readRecords<TryRecord>(options.records)).map((record) => [record.id, record]));
  const waiting = built.filter(({ id }) => !known.has(id));
  const index = await indexModules(kernel.modulesDir);
  /** Modules whose own target modules kill a guest, so that they are tried without these. */
  const noTargets = new Set<string>();
  /** What a guest said before it died while it loaded the targets of the next entry: the next guest, which begins with that entry, tells which of the two killed it. */
  let inDoubt: readonly TryRecord[] = [];
  while (waiting.length > 0) {
    const folder = await mkdtemp(join(tmpdir(), "kmend-fixes-"));
    try {
      const accelerator = await chooseAccelerator(kernel.imagePath, join(folder, "trial"));
      const batch = await nextBatch(waiting, options, index, noTargets, folder);
      const run = await runSeries(batch, kernel, accelerator, folder);
      const { records, killedByTargets } = judgeSeries(batch, run);
      const diedAtOnce = records.length === 0;
      if (diedAtOnce) {
        if (killedByTargets === undefined) throw new Error(`the guest did not start: ${run.end}`);
        if (noTargets.has(killedByTargets)) throw new Error(`the guest died before ${killedByTargets}: ${run.end}`);
        noTargets.add(killedByTargets);
      }
      const certain = [
        ...(diedAtOnce ? inDoubt : blameLast(inDoubt)),
        ...(killedByTargets === undefined ? records : []),
      ];
      inDoubt = killedByTargets === undefined ? [] : records;
      for (const record of certain) {
        await appendRecord(options.records, record);
        known.set(record.id, record);
        options.onRecord(record, known.size);
      }
      const ids = new Set([...certain, ...inDoubt].map(({ id }) => id));
      waiting.splice(0, waiting.length, ...waiting.filter(({ id }) => !ids.has(id)));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
  return built.map(({ id }) => known.get(id) as TryRecord);
}

async function nextBatch(
  waiting: readonly FixRecord[],
  { kernel, output }: TryFixesOptions,
  index: ModuleIndex,
  noTargets: ReadonlySet<string>,
  folder: string,
): Promise<Candidate[]> {
  const batch: Candidate[] = [];
  const sizes = new Map<string, number>();
  /** Each module once, although several patches may need it. */
  const plain = new Map<string, string>();
  for (const { id, units } of waiting.slice(0, perBoot)) {
    const module = modulePath(id, output);
    const patch = await inspectPatchModuleFor(module, kernel.release);
    const objects = units
      .map(({ object }) => object)
      .filter((object) => object !== "vmlinux" && index.files.has(moduleName(object)));
    const wanted = [...new Set([...patch.depends, ...(noTargets.has(id) ? [] : objects)])];
    const own = join(folder, String(batch.length));
    await mkdir(own);
    const targets = (await resolveModules(index, wanted, own)).map((file) => plain.get(basename(file)) ?? file);
    for (const file of targets) plain.set(basename(file), file);
    for (const file of [...targets, module]) sizes.set(file, (await stat(file)).size);
    const total = [...sizes.values()].reduce((sum, size) => sum + size, 0);
    if (batch.length > 0 && total > bytesPerBoot) break;
    const { staysInMemory } = patch;
    batch.push({ id, name: moduleNameOf(id).replaceAll("-", "_"), module, staysInMemory, targets });
  }
  return batch;
}
