import { readFile, realpath } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { KmendError } from "../../support/errors.ts";
import { mapConcurrently } from "../../support/run.ts";
import { type KbuildEnvironment, type KbuildOptions, runKbuild } from "./kbuild.ts";
import type { UnitLists } from "./units.ts";

/** What Kbuild is run with for units of a tree. */
export interface KbuildTree {
  readonly path: string;
  readonly environment: KbuildEnvironment;
}

/** The shell command by which Kbuild makes one unit: compiler, then objtool where the kernel runs it per object. */
export interface UnitCommand {
  /** Source path relative to the tree. */
  readonly source: string;
  readonly command: string;
  /** Object path relative to the tree, as Kbuild names it. */
  readonly object: string;
  /** The module that the unit belongs to, with underscores; undefined for a unit of the kernel image. */
  readonly module: string | undefined;
  /** Kbuild makes other files first (`lib/crc32.c` includes a table that a program of the tree writes), so the command alone is not enough. */
  readonly needsKbuild?: true | undefined;
}

/** One function and one variable per section, so that code that moves is not code that changes. */
export const sectionFlags: readonly string[] = ["-ffunction-sections", "-fdata-sections"];

/** `fs/proc/meminfo.c` → `fs/proc/meminfo.o`. */
export function objectPath(source: string): string {
  return source.replace(/\.[cS]$/, ".o");
}

/** `fs/proc/meminfo.o` → `fs/proc/meminfo.i`, Kbuild's target for preprocessed text. */
export function preprocessedPath(object: string): string {
  return object.replace(/\.o$/, ".i");
}

/** How commands are asked for. */
export interface CommandOptions {
  readonly jobs: number;
  readonly logFile: string;
  readonly signal?: AbortSignal | undefined;
  /** Takes the lists of the units' folders, which the same dry run tells. */
  readonly beside?: { readonly lists: UnitLists /** A folder for a small makefile. */; readonly scratch: string };
}

/**
 * Asks Kbuild for the commands of units, without compiling any: a dry run costs some 40 ms where a compile costs a second.
 * @param folder the tree, or a shadow of it without objects.
 * @throws KmendError `COMPILE_FAILED` with the words of make when it knows no way to make an object.
 */
export async function unitCommands(
  tree: KbuildTree,
  folder: string,
  units: readonly { readonly source: string; readonly object: string }[],
  options: CommandOptions,
): Promise<UnitCommand[]> {
  if (units.length === 0) return [];
  const { logFile, signal, beside } = options;
  const settings = await unitBuildOptions(tree.path);
  const objects = units.map(({ object }) => object);
  const makefile = await beside?.lists.makefile(beside.scratch);
  const all = { ...settings, makefile, dryRun: true, keepGoing: true, logFile, signal, allowFailure: true };
  const result = await runKbuild(tree.environment, folder, objects, all);
  const stdout = beside?.lists.take(result.stdout) ?? result.stdout;
  // Makefiles of external modules may name their folder by its whole path, and the command has to be good for every shadow.
  const output = tree.environment.external === undefined ? stdout : await relativeTo(folder, stdout);
  const { makesMore, recorded } = readDryRun(output, objects);
  if (makesMore && units.length > 1) {
    // Which units the other steps are for is told by asking for fewer at a time.
    const middle = units.length >> 1;
    const halves = [units.slice(0, middle), units.slice(middle)];
    const told = await mapConcurrently(halves, options.jobs, (half) => unitCommands(tree, folder, half, options));
    return told.flat();
  }
  return units.map(({ source, object }) => {
    const text = recorded.get(object);
    if (text === undefined) throw compileError(source, result.all, logFile);
    const unit = parseCommand(source, object, text);
    return makesMore ? { ...unit, needsKbuild: true } : unit;
  });
}

/** Paths below `folder` as they are written when it is the current one. */
async function relativeTo(folder: string, text: string): Promise<string> {
  const names = new Set([await realpath(folder), resolve(folder)]);
  return [...names].reduce((shorter, name) => shorter.replaceAll(`${name}/`, "./"), text);
}

/**
 * What a dry run of Kbuild tells about objects. What would be recorded of one is the last argument of fixdep (scripts/Kbuild.include,
 * `cmd_and_fixdep`), in single quotes, in which the shell's way to write a single quote is `'\\''`.
 * @returns what would be recorded of each object, and whether anything else would be made too.
 */
export function readDryRun(
  text: string,
  objects: readonly string[],
): { recorded: Map<string, string>; makesMore: boolean } {
  const recorded = new Map<string, string>();
  for (const object of objects) {
    const start = `scripts/basic/fixdep ${dependencyFile(object)} ${object} '`;
    // A folder on the way down may have a rule for the object too, which the folder's own comes after and overrides.
    const at = text.lastIndexOf(start);
    if (at < 0) continue;
    const quoted = /^(?:[^']|'\\'')*/.exec(text.slice(at + start.length))?.[0] ?? "";
    recorded.set(object, quoted.replaceAll("'\\''", "'"));
  }
  const lines = text.replaceAll("\\\n", " ").split("\n");
  const makesMore = lines.some((line) => {
    if (line === "" || line === ":" || /^(?:\S*\/)?make /.test(line)) return false;
    return !objects.some((object) => line.includes(object) || line.includes(dependencyFile(object)));
  });
  return { recorded, makesMore };
}

/** Where the compiler lists what it read: `fs/proc/.meminfo.o.d`. */
function dependencyFile(object: string): string {
  return `${dirname(object)}/.${basename(object)}.d`;
}

/** How Kbuild is run for units, besides what belongs to one run. */
export async function unitBuildOptions(tree: string): Promise<Pick<KbuildOptions, "compilerFlags" | "variables">> {
  const config = await readFile(join(tree, ".config"), "utf8");
  return { compilerFlags: [...sectionFlags, ...flagsOfTarget(config)], variables: objtoolPerUnit(config) };
}

/**
 * What code of a patch module needs on some targets. On 64-bit PowerPC a function that jumps out of its module without coming back leaves its caller
 * with the register r2 of the other.
 */
function flagsOfTarget(config: string): readonly string[] {
  return /^CONFIG_PPC64=y$/m.test(config) ? ["-fno-optimize-sibling-calls"] : [];
}

/**
 * With IBT, Kbuild puts off objtool until the kernel is linked (scripts/Makefile.lib, `delay-objtool`). Single units need it at once: it writes jump
 * labels, call sites and unwind data, without which the unit is not what the kernel holds. `--link` is what it is then called with.
 */
function objtoolPerUnit(config: string): Record<string, string> {
  const isDelayed = /^CONFIG_X86_KERNEL_IBT=y$/m.test(config);
  return isDelayed ? { "delay-objtool": "", objtool: "./tools/objtool/objtool --link" } : {};
}

/**
 * Reads a command as Kbuild records it.
 * @param recorded what stands behind `savedcmd_… := ` in `.name.o.cmd`, with the escapes of scripts/Kbuild.include, `make-cmd`: doubled dollars, hashes
 *   spelt out.
 */
export function parseCommand(source: string, object: string, recorded: string): UnitCommand {
  const command = recorded.replaceAll("$$", "$").replaceAll("$(pound)", "#").replaceAll("\\#", "#").trim();
  const module = /(?:^|\s)-DMODULE(?:\s|$)/.test(command)
    ? /-DKBUILD_MODNAME='"([^"]+)"'/.exec(command)?.[1]
    : undefined;
  return { source, object, command, module };
}

/**
 * The command that prints which files a unit reads, as a make rule, and compiles nothing.
 * @returns undefined for a command of another form than Kbuild's `$(CC) $(c_flags) -c -o $@ $<` (scripts/Makefile.build, `cmd_cc_o_c`).
 */
export function dependencyCommand(unit: UnitCommand): string | undefined {
  const parts = compilerCall(unit);
  return parts === undefined ? undefined : `${parts.compiler} -M ${parts.source}`;
}

/**
 * The command that only checks a unit, with more flags.
 * @returns undefined for a command of another form, as for {@link dependencyCommand}.
 */
export function syntaxCommand(unit: UnitCommand, flags: readonly string[]): string | undefined {
  const parts = compilerCall(unit);
  return parts === undefined ? undefined : `${parts.compiler} -fsyntax-only ${flags.join(" ")} ${parts.source}`;
}

/** The compiler with its flags, without those that make it write anything. */
function compilerCall({ command }: UnitCommand): { readonly compiler: string; readonly source: string } | undefined {
  const [, compiler, source] = /^([^;]*) -c -o \S+ ([^\s;]+)\s*(?:;|$)/.exec(command) ?? [];
  if (compiler === undefined || source === undefined) return undefined;
  return { compiler: compiler.replace(/ -Wp,-MM?D,\S+/, ""), source };
}

/** An error of make or of the compiler: with its own words, the most telling of them. */
export function compileError(what: string, output: string, logFile: string): KmendError {
  if (/No space left on device/.test(output)) {
    return new KmendError({
      code: "NO_SPACE",
      message: "no space left on the disk while compiling",
      where: what,
      hint: "free some space, or choose another cache folder with KMEND_CACHE=DIR",
    });
  }
  const lines = output.trimEnd().split("\n");
  const errors = lines.filter((line) => /: (fatal )?error: /.test(line));
  const others = lines.filter((line) => /error|Error|No rule/.test(line));
  return new KmendError({
    code: "COMPILE_FAILED",
    message: `${what} does not compile`,
    where: what,
    why: (errors.length > 0 ? errors : others.length > 0 ? others : lines).slice(-20).join("\n"),
    hint: `the full log is ${logFile}`,
  });
}
