import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "../../src/build/build.ts";
import { verifyModule } from "../../src/build/verify.ts";
import { findTargetKernel } from "../../src/kernel/find.ts";
import { readPatchModule } from "../../src/patch-module/patch-module.ts";
import { KmendError, messageOf } from "../../src/support/errors.ts";
import { ModuleMutator, type ModulePart } from "./module-mutations.ts";

/** What became of one changed module. */
export interface ModuleRecord {
  readonly module: string;
  readonly part: ModulePart;
  readonly where: string;
  /** `caught` by what every command reads a module with, and by `verify`; `failed` when something else than an error of kmend's was thrown. */
  readonly outcome: "caught" | "survivor" | "failed";
  readonly detail: string;
}

export interface ModuleMutants {
  readonly root: string;
  readonly kernel: string;
  readonly count: number;
  readonly seed: string;
  /** A private folder, which is removed. */
  readonly scratch: string;
  readonly onRecord: (record: ModuleRecord) => Promise<void>;
}

/** Examples that the modules are built from: of the image and of a module, with tables, strings and new data. */
const examples: readonly string[] = ["meminfo-string", "cmdline-helper", "two-files", "zram-module"];

/** One mutant in so many is also given to the whole of `verify`, which opens the kernel. */
const verifyEvery = 50;

/** Builds the examples, changes one place of the modules again and again, and looks whether it is seen. */
export async function mutateModules(options: ModuleMutants): Promise<void> {
  const { count, seed, scratch } = options;
  await mkdir(scratch, { recursive: true });
  try {
    const target = await findTargetKernel({ kernel: options.kernel });
    const mutators: { name: string; mutator: ModuleMutator }[] = [];
    for (const name of examples) {
      const patch = join(options.root, "examples", `${name}.patch`);
      const { module } = await build({ patches: [patch], target, output: scratch });
      if (module === null) throw new Error(`${name} was not built`);
      mutators.push({ name, mutator: new ModuleMutator(await readFile(module.path), `${seed} ${name}`) });
    }
    const path = join(scratch, "mutant.ko");
    for (let number = 0; number < count; number++) {
      const { name, mutator } = mutators[number % mutators.length] as (typeof mutators)[number];
      const { part, where, module } = mutator.mutation(Math.floor(number / mutators.length));
      const read = seenBy(() => readPatchModule(path, module));
      const isChecked = number % verifyEvery === 0;
      if (isChecked) await writeFile(path, module);
      const checked = isChecked ? await seenByVerify(path, target.imagePath, target.modulesDir) : read;
      const outcome = [read, checked].some(({ outcome }) => outcome === "failed")
        ? "failed"
        : [read, checked].some(({ outcome }) => outcome === "survivor")
          ? "survivor"
          : "caught";
      await options.onRecord({
        module: name,
        part,
        where,
        outcome,
        detail: outcome === checked.outcome ? checked.detail : read.detail,
      });
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

type Seen = Pick<ModuleRecord, "outcome" | "detail">;

function seenBy(read: () => { readonly seal: string }): Seen {
  try {
    return { outcome: "survivor", detail: read().seal };
  } catch (error) {
    return thrown(error);
  }
}

async function seenByVerify(module: string, image: string, modules: string | undefined): Promise<Seen> {
  try {
    const { outcome, file } = await verifyModule({ module, image, modules });
    return { outcome: outcome === "failed" ? "caught" : "survivor", detail: `verify: ${file}` };
  } catch (error) {
    return thrown(error);
  }
}

function thrown(error: unknown): Seen {
  return error instanceof KmendError
    ? { outcome: "caught", detail: error.code }
    : { outcome: "failed", detail: error instanceof Error ? String(error.stack) : messageOf(error) };
}
