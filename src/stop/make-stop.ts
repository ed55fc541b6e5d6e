import { patchedModules } from "../build/resolve/patched-modules.ts";
import { ElfReader } from "../elf/reader.ts";
import { type ShippedModule, ShippedModules } from "../kernel/modules/shipped-module.ts";
import { longestModuleName, moduleName } from "../patch-module/module-name.ts";
import { unsealed } from "../patch-module/seal.ts";
import type { Refusal } from "../refusals/refusals.ts";
import { cacheRoot } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { version } from "../support/version.ts";
import { type ChosenFunction, chooseFunctions } from "./choose-functions.ts";
import type { StopKernel } from "./kernel-parts.ts";
import type { WantedFunction } from "./request.ts";
import { type ShippedFacts, shippedFacts } from "./writer/shipped-facts.ts";
import { stopLayouts } from "./writer/struct-layouts.ts";
import { counterName, writeStopModule } from "./writer/write-module.ts";

/** What is to be stopped, and how. */
export interface StopRequest {
  readonly functions: readonly WantedFunction[];
  /** Count and report the calls. */
  readonly log?: boolean | undefined;
  /** Why, in one line. */
  readonly reason?: string | undefined;
  /** Vulnerabilities that this keeps from being used; those of the reason count too. */
  readonly cves?: readonly string[] | undefined;
  /** Module name; default from the functions. */
  readonly name?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A stop module, or why there is none. */
export type StopResult =
  | {
      readonly outcome: "made";
      readonly name: string;
      readonly file: Uint8Array;
      readonly functions: readonly ChosenFunction[];
    }
  | { readonly outcome: "refused"; readonly refusals: readonly Refusal[] };

/**
 * Makes the module that stops functions of a kernel.
 * @throws KmendError `STOP_…` (exit 4) for kernels that cannot be served, `MODULE_NAME`, `MODULES_MISSING`, and what reading modules throws.
 */
export async function makeStop(kernel: StopKernel, request: StopRequest): Promise<StopResult> {
  requireEarlyRelocations(kernel.release);
  const modules = await ShippedModules.open(kernel.modulesDir);
  const { functions, refusals } = await chooseFunctions(kernel, modules, request.functions, request.signal);
  if (refusals.length > 0) return { outcome: "refused", refusals };
  const facts = await factsOf(kernel, modules, request.signal);
  const layouts = stopLayouts(kernel.types);
  const name = moduleName(request.name ?? defaultName(functions), []);
  const { klp_object, klp_func } = layouts;
  const reason = request.reason?.replaceAll(/\p{Cc}/gu, " ").trim();
  const cves = [...new Set([...(request.cves ?? []), ...(reason?.match(/CVE-\d{4}-\d{4,10}/g) ?? [])])];
  const patched = await patchedModules(
    functions.map(({ object }) => object),
    kernel,
    undefined,
  );
  const log = request.log === true;
  const file = writeStopModule({
    ...{ name, functions, log, facts, layouts, note: kernel.note },
    manifest: {
      ...{ schema: 1, kmend: version(), seal: unsealed },
      kernel: { release: kernel.release, buildId: kernel.buildId },
      ...{ replace: false, allowedLayouts: [], patches: [] },
      ...(cves.length === 0 ? {} : { cves }),
      ...(patched.length === 0 ? {} : { modules: patched }),
      stop: {
        ...(reason === undefined || reason === "" ? {} : { reason }),
        log,
        answers: functions.map(({ returns }) => returns),
        counters: log ? functions.map((one, index) => counterName(one, index)) : [],
        layout: {
          object: { size: klp_object.size, name: klp_object.at.name, funcs: klp_object.at.funcs },
          func: {
            ...{ size: klp_func.size, oldName: klp_func.at.old_name },
            ...{ newFunc: klp_func.at.new_func, sympos: klp_func.at.old_sympos },
          },
        },
      },
    },
    countOf: (symbol) => kernel.symbolsNamed(symbol).length,
    modinfo: [`kmend=${version()}`, `kmend.kernel=${kernel.buildId}`, ...functions.map(stopText)],
  });
  return { outcome: "made", name, file, functions };
}

/** From Linux 5.8 on, livepatch relocations of vmlinux are written before the init function runs (kernel/livepatch/core.c). @throws KmendError `STOP_OLD_KERNEL` (exit 4) */
function requireEarlyRelocations(release: string): void {
  const [major = 0, minor = 0] = release.split(".").map((part) => Number.parseInt(part, 10));
  if (major > 5 || (major === 5 && minor >= 8)) return;
  throw new KmendError({
    code: "STOP_OLD_KERNEL",
    message: `kernel ${release} is older than Linux 5.8`,
    why: "the init function of the module would run before its symbols are known",
    hint: "make the module with kmend build",
    exitCode: ExitCode.refused,
  });
}

function stopText({ object, name, sympos, returns }: ChosenFunction): string {
  const position = sympos === 0 ? "" : `,${sympos}`;
  return `kmend.stop=${object === "vmlinux" ? "" : `${object}:`}${name}${position}=${returns}`;
}

/** `stop-` and the functions, as far as a name has room. */
function defaultName(functions: readonly ChosenFunction[]): string {
  const names = functions.map(({ name }) => name.replaceAll(/[^\w]/g, "_"));
  return `stop-${names.join("-")}`.slice(0, longestModuleName).replace(/[-_]+$/, "");
}

/** How many modules are asked for what they tell; nearly every one tells all. */
const asked = 40;

/** The kernel's modules in their order; most of them are not looked at. */
function* inTurn(modules: ShippedModules): Generator<ShippedModule> {
  yield* modules.first(asked);
  yield* modules.loadable.slice(asked);
}

/** The kernel's own modules show how modules of it have to be made. @throws KmendError `STOP_NO_MODULE` (exit 4) */
async function factsOf(
  kernel: StopKernel,
  modules: ShippedModules,
  signal: AbortSignal | undefined,
): Promise<ShippedFacts> {
  let why = "there are none";
  let left = asked;
  // The list of a kernel's modules is in one package, and they may be in several: of most, nothing may be there.
  for (const module of inTurn(modules)) {
    if (left === 0) break;
    const file = await modules.readOnce(module, cacheRoot(), signal).catch((error: unknown) => {
      if (error instanceof KmendError && error.code === "MODULE_FILE_MISSING") return undefined;
      throw error;
    });
    if (file === undefined) continue;
    left--;
    const answer = shippedFacts(new ElfReader(file));
    if ("facts" in answer) return answer.facts;
    why = `${module.name}: ${answer.unusable}`;
  }
  throw new KmendError({
    code: "STOP_NO_MODULE",
    message: `no module of kernel ${kernel.release} shows how its modules are made`,
    where: kernel.modulesDir,
    why: `version magic, the version of struct module and unwind data are taken from one; ${why}`,
    hint: "install the package of the kernel's modules; for kernels with other code use kmend build",
    exitCode: ExitCode.refused,
  });
}
