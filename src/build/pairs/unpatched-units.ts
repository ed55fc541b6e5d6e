import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { compileAll } from "../../kernel/tree/compile.ts";
import { createShadow, foldersOf } from "../../kernel/tree/shadow.ts";
import { type UnitCommand, unitCommands } from "../../kernel/tree/unit-command.ts";
import { membershipOf } from "../../kernel/tree/units.ts";
import { exists } from "../../support/cache.ts";
import { walk } from "../../support/find-files.ts";
import { type BuildContext, kbuildOf } from "../build-context.ts";

/** A unit that the patch does not touch, compiled. */
export interface UnpatchedUnit {
  readonly file: Uint8Array;
  /** The objects that it is linked into: `vmlinux`, or names of modules. */
  readonly objects: readonly string[];
}

/** Folders of the kernel source whose units may be part of the kernel that runs. */
const folders: readonly string[] = [
  "arch/x86",
  "block",
  "crypto",
  "drivers",
  "fs",
  "init",
  "io_uring",
  "ipc",
  "kernel",
  "lib",
  "mm",
  "net",
  "security",
  "sound",
  "virt",
];

/**
 * C files of the kernel source that match an extended regular expression, in alphabetical order.
 * @param options further ones of grep(1).
 * @throws KmendError `PROGRAM_FAILED`: a file that is not found would count as one that does not have what is looked for.
 */
export async function sourcesWith(
  pattern: string,
  { tree, signal }: BuildContext,
  options: readonly string[] = [],
): Promise<string[]> {
  const known = await Promise.all(folders.map((folder) => exists(join(tree.path, folder))));
  const present = folders.filter((_, index) => known[index] === true);
  // The source of a module that is not one of the kernel's own has other folders.
  const places = present.length > 0 ? present : ["."];
  const result = await walk("grep", ["-rlE", ...options, "--include=*.c", "-e", pattern, "--", ...places], {
    cwd: tree.path,
    fine: [0, 1],
    signal,
  });
  const found = result.stdout.split("\n").filter(Boolean);
  return found.map((path) => path.replace(/^\.\//, "")).sort();
}

/**
 * Compiles a source file as it is in the running kernel; the object is kept in the cache.
 * @returns undefined for a file that this kernel does not build.
 */
export async function compileUnpatched(source: string, context: BuildContext): Promise<UnpatchedUnit | undefined> {
  const { tree, folder, cache } = context;
  const command = await cache.command(source);
  const known = command === undefined ? undefined : await cache.object(command);
  if (command !== undefined && known !== undefined) return { file: known, objects: objectsOf(command) };
  const member = (await membershipOf(kbuildOf(context), [source])).get(source);
  if (member === undefined || member.kind === "not-built") return undefined;
  const shadow = join(folder, `unpatched-${source.replaceAll("/", "_")}`);
  createShadow(tree.path, shadow, new Map(), foldersOf(member.object));
  const [unit] = await unitCommands(tree, shadow, [{ source, object: member.object }], context);
  if (unit === undefined) return undefined;
  await compileAll(tree, [{ unit, folder: shadow }], context);
  const file = await readFile(join(shadow, member.object));
  await cache.keepObject(unit, file);
  await cache.keepCommand(unit);
  return { file, objects: objectsOf(unit) };
}

function objectsOf({ module }: UnitCommand): string[] {
  return (module ?? "vmlinux").split(":");
}
