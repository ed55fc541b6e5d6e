import { basename } from "node:path";
import { findTargetKernel } from "../kernel/find.ts";
import { isOpenChoice, type KernelChoice, kernelChoice } from "../kernel/kernel-choice.ts";
import type { Refusal } from "../refusals/refusals.ts";
import { sha256 } from "../support/cache.ts";
import type { Progress } from "../support/progress.ts";
import { SilentProgress } from "../support/progress.ts";
import { imageKernel } from "./image-kernel.ts";
import type { StopKernel } from "./kernel-parts.ts";
import { makeStop, type StopRequest } from "./make-stop.ts";
import { parseWanted, type WantedFunction } from "./request.ts";
import { runningKernel } from "./running-kernel.ts";

/** What is to be stopped, and in which kernel: without a choice the running one, from what it shows itself. */
export interface StopOptions extends KernelChoice, Omit<StopRequest, "functions"> {
  /** As {@link parseWanted} takes them. */
  readonly functions: readonly string[];
  /** What the functions leave open. */
  readonly defaults?: Partial<Omit<WantedFunction, "name">> | undefined;
  readonly running: { readonly root: string; readonly release: string };
  readonly progress?: Progress | undefined;
}

/** The stable `--json` of `kmend stop`. */
export interface StopOutcome {
  readonly schema: 1;
  readonly outcome: "made" | "refused";
  readonly kernel: { readonly release: string; readonly buildId: string };
  readonly functions: readonly {
    readonly name: string;
    readonly object: string;
    readonly sympos: number;
    /** What it returns, as C would write it. */
    readonly type: string;
    /** What callers get from now on. */
    readonly returns: string;
    readonly warnings: readonly string[];
  }[];
  readonly refusals: readonly Refusal[];
  readonly module: { readonly name: string; readonly sha256: string; readonly bytes: number } | null;
}

/** Finds the kernel that a stop is for. @throws KmendError of finding it, and `STOP_…`. */
export async function stopKernelOf(
  options: KernelChoice & Pick<StopOptions, "running" | "progress" | "signal">,
): Promise<StopKernel> {
  const { running, progress = new SilentProgress(), signal } = options;
  if (isOpenChoice(options)) return runningKernel(running.root, running.release);
  return imageKernel(await findTargetKernel({ ...kernelChoice(options), progress, signal }));
}

/**
 * Makes the module that stops functions of a kernel, without compiler, headers or source.
 * @returns what was made, and the module's bytes; nothing is written or loaded.
 * @throws KmendError `USAGE`, `MODULE_NAME` (exit 2), `STOP_…` (exit 4, 5), and those of finding the kernel.
 */
export async function stop(
  options: StopOptions,
): Promise<{ readonly outcome: StopOutcome; readonly file: Uint8Array | undefined }> {
  const { progress = new SilentProgress(), defaults = {} } = options;
  const functions = options.functions.map((text) => parseWanted(text, defaults));
  const kernel = await progress.phase("kernel parts", "Read what the kernel tells", () => stopKernelOf(options));
  const made = await progress.phase("stop module", "Write the stop module", () =>
    makeStop(kernel, { ...options, functions }),
  );
  const { release, buildId } = kernel;
  const base = { schema: 1, kernel: { release, buildId } } as const;
  if (made.outcome === "refused") {
    const { refusals } = made;
    return { outcome: { ...base, outcome: "refused", functions: [], refusals, module: null }, file: undefined };
  }
  const { file, name } = made;
  const outcome: StopOutcome = {
    ...{ ...base, outcome: "made", refusals: [] },
    functions: made.functions.map(({ answer: _, ...rest }) => rest),
    module: { name, sha256: sha256(file), bytes: file.length },
  };
  return { outcome, file };
}

/** Name of the module that a file is to be called by; undefined without a file. */
export function nameOfOutput(output: string | undefined): string | undefined {
  return output === undefined ? undefined : basename(output).replace(/\.ko$/, "");
}
