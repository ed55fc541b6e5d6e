import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "../../src/build/build.ts";
import { changedFile } from "../../src/change/change-set.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { sha256 } from "../../src/support/cache.ts";
import { KmendError, messageOf } from "../../src/support/errors.ts";
import { type LeftFunction, type Marked, plainer, without } from "./leave-out.ts";
import { tracedFunctions } from "./traced-functions.ts";
import { chooseVariant, markable, variants, withVariants } from "./variants.ts";

/** What became of one unit. */
export interface UnitRecord {
  readonly unit: string;
  /** `vmlinux` or a module. */
  readonly object: string;
  readonly outcome: "built" | "unchanged" | "refused" | "failed";
  /** Of the patch module, without `.ko`. */
  readonly module: string;
  /** Names of the replaced functions, as the kernel has them. */
  readonly replaced: readonly string[];
  readonly added: readonly string[];
  /** Variant by the name of the marked function, as the source has it. */
  readonly variants: Readonly<Record<string, string>>;
  readonly left: readonly LeftFunction[];
  /** Functions that ftrace could redirect, and that the patch does not change: those left out, and those that no mark reaches. */
  readonly kept: readonly string[];
  readonly staysInMemory: boolean;
  /** Why there is no module. */
  readonly problem: string;
  readonly milliseconds: number;
}

export interface UnitBuild {
  readonly kernel: TargetKernel;
  /** Of the kernel's source. */
  readonly tree: string;
  readonly unit: string;
  readonly seed: string;
  /** Gets the module. */
  readonly output: string;
  readonly signal: AbortSignal;
}

/** Each build leaves out what the one before was refused for. */
const attempts = 8;

/** Seconds that one build may take. */
const timeoutSeconds = 600;

/** Name of a unit's module, which the kernel has too. */
export function moduleNameOf(unit: string): string {
  return `replace_${sha256(unit).slice(0, 12)}`;
}

/** Builds a module that replaces all functions of a unit which can be redirected. Nothing is thrown. */
export async function buildUnit({ kernel, tree, unit, seed, output, signal }: UnitBuild): Promise<UnitRecord> {
  const started = performance.now();
  const text = await readFile(join(tree, unit), "latin1");
  const everything = markable(text);
  let marked: readonly Marked[] = everything.map((where) => ({ where, variant: chooseVariant(where, unit, seed) }));
  const left: LeftFunction[] = [];
  await mkdir(output, { recursive: true });
  const record = (part: Partial<UnitRecord> & Pick<UnitRecord, "outcome">): UnitRecord => ({
    ...{
      unit,
      object: "",
      module: moduleNameOf(unit),
      replaced: [],
      added: [],
      kept: [],
      staysInMemory: false,
      problem: "",
      left,
    },
    variants: Object.fromEntries(marked.map(({ where, variant }) => [where.name, variant.name])),
    milliseconds: Math.round(performance.now() - started),
    ...part,
  });
  let problem = "";
  let traced: readonly (readonly string[])[] = [];
  for (let attempt = 0; attempt < attempts && marked.length > 0; attempt++) {
    const patched = withVariants(text, marked);
    try {
      const result = await build({
        patches: [],
        target: kernel,
        output,
        name: moduleNameOf(unit),
        replace: false,
        jobs: 1,
        change: async () => ({
          files: changedFile(unit, Buffer.from(text, "latin1"), Buffer.from(patched, "latin1")),
          patches: [{ name: "replace.patch", sha256: sha256(patched) }],
          notes: [],
        }),
        onObjects: (objects) => {
          const original = objects.find(({ kind }) => kind === "original");
          if (original !== undefined) traced = tracedFunctions(original.content);
        },
        signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutSeconds * 1000)]),
      });
      if (result.outcome === "unchanged") return record({ outcome: "unchanged", problem: result.notes.at(-1) ?? "" });
      if (result.outcome === "built") {
        const names = (change: string): string[] =>
          result.functions.filter((one) => one.change === change).map(({ name }) => name);
        return record({
          outcome: "built",
          object: result.units[0]?.object ?? "",
          replaced: names("changed"),
          added: names("new"),
          kept: keptOf(traced, new Set(names("changed"))),
          staysInMemory: result.module?.staysInMemory === true,
        });
      }
      problem = [...new Set(result.refusals.map(({ code }) => code))].sort().join("+");
      const next = without(marked, result.refusals, everything);
      if (next === undefined) {
        const why = result.refusals.map(({ code, what, why: reason }) => `${code} ${what}: ${reason}`);
        return record({ outcome: "refused", problem: why.join("; ") });
      }
      left.push(...next.left);
      marked = next.marked;
    } catch (error) {
      problem = `${error instanceof KmendError ? `${error.code} ${error.why ?? ""}` : ""} ${messageOf(error)}`;
      const isCompiler = error instanceof KmendError && error.code === "COMPILE_FAILED";
      const special = marked.some(({ variant }) => variant !== variants[0]);
      if (!isCompiler || !special) return record({ outcome: "failed", problem });
      marked = plainer(marked, unit, error.why ?? "");
    }
  }
  return record({ outcome: marked.length === 0 ? "refused" : "failed", problem: problem || "no function to mark" });
}

/** Functions of which no name was replaced, by the first of their names. */
function keptOf(traced: readonly (readonly string[])[], replaced: ReadonlySet<string>): string[] {
  return traced.filter((names) => !names.some((name) => replaced.has(name))).map(([first]) => first as string);
}
