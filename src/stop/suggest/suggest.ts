import { ShippedModules } from "../../kernel/modules/shipped-module.ts";
import { cacheRoot } from "../../support/cache.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { chooseFunctions } from "../choose-functions.ts";
import type { StopKernel } from "../kernel-parts.ts";
import { modulePart } from "../module-part.ts";
import { type Feature, features } from "./features.ts";
import { type EntryPoint, moduleEntryPoints } from "./module-operations.ts";

/** A way into a part of the kernel, and whether it can be closed. */
export interface Suggestion {
  /** As `kmend stop` takes it: a function, or `MODULE:FUNCTION`. */
  readonly function: string;
  /** How user space comes to it: `system call`, `proto_ops.bind`, or empty. */
  readonly through: string;
  /** What no longer works. */
  readonly breaks: string;
  /** What it would return; null when it cannot be stopped as it is. */
  readonly returns: string | null;
  /** Why it cannot be stopped. */
  readonly problem: string | null;
}

/** The stable `--json` of `kmend stop --suggest`. */
export interface SuggestResult {
  readonly schema: 1;
  readonly subject: string;
  readonly kernel: string;
  /** What the subject was found to be: modules, and features by their names. */
  readonly found: readonly string[];
  readonly suggestions: readonly Suggestion[];
}

/**
 * Entry points that close a subsystem, a module, or what a vulnerability is in, for a kernel. Each is tried as `kmend stop` would take it.
 * @param files source files that the subject is about, for a vulnerability; none for other subjects.
 * @throws KmendError `NOTHING_TO_SUGGEST` (exit 3)
 */
export async function suggest(
  kernel: StopKernel,
  subject: string,
  files: readonly string[] = [],
  signal?: AbortSignal,
): Promise<SuggestResult> {
  const modules = await ShippedModules.open(kernel.modulesDir);
  const known = features.filter((feature) => isAbout(feature, subject, files));
  const names = new Set([
    ...modulesOf(modules, subject, files),
    ...known.flatMap((feature) => feature.modules ?? []).filter((name) => modules.find(name) !== undefined),
  ]);
  const points: { readonly object: string | undefined; readonly point: EntryPoint }[] = [];
  for (const { functions = {} } of known) {
    for (const [name, breaks] of Object.entries(functions)) {
      const through = name.startsWith("__x64_sys_") ? "system call" : "";
      if (kernel.symbolsNamed(name).length > 0) points.push({ object: undefined, point: { name, through, breaks } });
    }
  }
  for (const object of names) {
    const part = await modulePart(modules, object, kernel.types, signal);
    const shipped = modules.find(object);
    if (part?.types === undefined || shipped === undefined) continue;
    const file = await modules.readOnce(shipped, cacheRoot(), signal);
    for (const point of moduleEntryPoints(file, part.types)) points.push({ object: shipped.name, point });
  }
  if (points.length === 0) throw nothing(subject, names, modules);
  const suggestions: Suggestion[] = [];
  for (const { object, point } of points) {
    const wanted = { name: point.name, object, sympos: undefined, returns: point.failure };
    const { functions, refusals } = await chooseFunctions(kernel, modules, [wanted], signal);
    suggestions.push({
      function: `${object === undefined ? "" : `${object}:`}${point.name}${point.failure === undefined ? "" : `=${point.failure}`}`,
      ...{ through: point.through, breaks: point.breaks },
      returns: functions[0]?.returns ?? null,
      problem: refusals[0]?.why ?? null,
    });
  }
  const found = [...known.map(({ names: [name] }) => name as string), ...[...names].map((name) => `module ${name}`)];
  return { schema: 1, subject, kernel: kernel.release, found, suggestions };
}

function isAbout({ names, paths }: Feature, subject: string, files: readonly string[]): boolean {
  return (
    names.includes(subject.toLowerCase()) ||
    files.some((file) => paths.some((path) => path !== "" && file.startsWith(path)))
  );
}

/** Modules that have the subject's name, or that the files are compiled into as far as names tell: the file's own, or the only one of its folder. */
function modulesOf(modules: ShippedModules, subject: string, files: readonly string[]): string[] {
  const found = new Set<string>();
  const named = modules.find(subject);
  if (named !== undefined) found.add(named.name);
  const all = files.length === 0 ? [] : modules.loadable;
  for (const file of files.filter((path) => path.endsWith(".c"))) {
    const own = all.find(({ modfile }) => `${modfile}.c` === file.replaceAll("-", "_") || `${modfile}.c` === file);
    const folder = file.slice(0, file.lastIndexOf("/") + 1);
    const beside = all.filter(({ modfile }) => modfile.slice(0, modfile.lastIndexOf("/") + 1) === folder);
    if (own !== undefined) found.add(own.name);
    else if (beside.length === 1) found.add((beside[0] as { name: string }).name);
  }
  return [...found];
}

function nothing(subject: string, names: ReadonlySet<string>, modules: ShippedModules): KmendError {
  return new KmendError({
    code: "NOTHING_TO_SUGGEST",
    message: `no entry point of ${subject} is known`,
    why:
      names.size > 0
        ? `the tables of operations of ${[...names].join(", ")} were not recognised`
        : modules.isBuiltin(subject)
          ? "the kernel has it built in, and only tables of modules can be read"
          : "it is neither a module of this kernel nor a feature that kmend knows",
    hint: `name a module, or one of ${features.map(({ names: [name] }) => name).join(", ")}`,
    exitCode: ExitCode.unchanged,
  });
}
