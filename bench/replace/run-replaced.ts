import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { moduleName } from "../../src/support/module-file-name.ts";
import { chooseAccelerator } from "../../src/vm/kvm-probe.ts";
import { indexModules, resolveInTurn } from "../../src/vm/module-dependencies.ts";
import { inspectPatchModuleFor } from "../../src/vm/patch-module.ts";
import type { Frame } from "../../src/vm/serial-frames.ts";
import { watchGuest } from "../fixes/try-series.ts";
import type { UnitRecord } from "./build-unit.ts";
import { guestPrograms } from "./guest-programs.ts";
import { replaceScript } from "./guest-script.ts";
import { type Load, loadPrograms } from "./loads.ts";

export interface ReplacedRun {
  readonly kernel: TargetKernel;
  /** Those that were built, in the order of their loading, one several times if it comes and goes; none for the run that the others are compared with. */
  readonly units: readonly UnitRecord[];
  /** Folder of the patch modules. */
  readonly output: string;
  readonly loads: readonly Load[];
  readonly rounds: number;
  readonly stack: boolean;
  readonly onFrame?: ((frame: Frame) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What one guest said; it is kept as a file. */
export interface GuestWords {
  /** Names of the entries, in the order of their numbers. */
  readonly units: readonly string[];
  readonly loads: readonly string[];
  readonly frames: readonly Frame[];
  /** How it ended, when it did not say that it is done. */
  readonly end: string;
  readonly console: string;
  readonly missingPrograms: readonly string[];
}

/** Modules for the load that loads and unloads modules. */
const comingAndGoing = ["dummy", "ifb", "brd"];

const megabytes = 2048;

/** Boots one guest that gets the modules of all units, and then works. */
export async function runReplaced(options: ReplacedRun): Promise<GuestWords> {
  const { kernel, units, output, loads } = options;
  const folder = await mkdtemp(join(tmpdir(), "kmend-replace-"));
  try {
    const accelerator = await chooseAccelerator(kernel.imagePath, join(folder, "trial"));
    const index = await indexModules(kernel.modulesDir);
    const isThere = (name: string): boolean => index.files.has(name) && !index.builtin.has(name);
    const copies = join(folder, "targets");
    await mkdir(copies);
    const patches = await Promise.all(
      units.map(({ module }) => inspectPatchModuleFor(join(output, `${module}.ko`), kernel.release)),
    );
    const lists = [
      loads.flatMap(({ modules }) => modules).filter(isThere),
      ...patches.map(({ depends, objects }) => [...depends, ...objects].map(moduleName).filter(isThere)),
      comingAndGoing.filter(isThere),
    ];
    const resolved = await resolveInTurn(index, lists, copies);
    const files = [...new Set([...resolved.flat(), ...units.map(({ module }) => join(output, `${module}.ko`))])];
    const number = (file: string): number => files.indexOf(file);
    const last = resolved.at(-1) ?? [];
    const token = randomBytes(6).toString("hex");
    const init = replaceScript({
      token,
      entries: units.map(({ module, staysInMemory }, at) => ({
        name: module,
        file: number(join(output, `${module}.ko`)),
        staysInMemory,
        targets: (resolved[at + 1] ?? []).map(number),
      })),
      needed: (resolved[0] ?? []).map(number),
      others: last.flatMap((file) => {
        const name = moduleName(basename(file));
        return comingAndGoing.includes(name) ? [`${name}=/kmend/modules/${number(file)}.ko`] : [];
      }),
      loads,
      stirred: loads.flatMap(({ isStir }, at) => (isStir === true ? [at] : [])),
      rounds: options.rounds,
      stack: options.stack,
    });
    const programs = await guestPrograms(loadPrograms);
    const content = { init, modules: files, probes: loads.map(({ script }) => script), files: programs.files };
    const longest = Math.max(300, ...loads.map(({ limit }) => limit + 60));
    const limits = { silenceSeconds: longest, timeoutSeconds: 24 * 3600 };
    const words = await watchGuest({
      ...{ token, content, kernel, accelerator, folder, ...limits, megabytes, onFrame: options.onFrame },
      signal: options.signal,
    });
    return {
      units: units.map(({ unit }) => unit),
      loads: loads.map(({ name }) => name),
      ...words,
      missingPrograms: programs.missing,
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
