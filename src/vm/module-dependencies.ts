import { readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { ExitCode, KmendError, messageOf } from "../support/errors.ts";
import { entriesBelowIfAny } from "../support/find-files.ts";
import { moduleName } from "../support/module-file-name.ts";
import { modinfoOf, plainModule } from "./module-file.ts";

/** The modules of one kernel by name. */
export interface ModuleIndex {
  /** Name to file. */
  readonly files: ReadonlyMap<string, string>;
  /** Names that are part of the kernel image. */
  readonly builtin: ReadonlySet<string>;
}

/**
 * Reads which modules `…/lib/modules/<release>` holds. modules.dep is not asked: a package that was unpacked but never installed has none.
 * @param others files of other modules by name; they go before the kernel's own of the same name.
 */
export async function indexModules(
  modulesDir: string | undefined,
  others: ReadonlyMap<string, string> = new Map(),
): Promise<ModuleIndex> {
  if (modulesDir === undefined) return { files: others, builtin: new Set() };
  const files = new Map<string, string>();
  const entries = await entriesBelowIfAny(modulesDir, { follow: true });
  const names = entries.map(({ parentPath, name }) => relative(modulesDir, join(parentPath, name)));
  for (const name of names.sort()) {
    if (!/\.ko(\.xz|\.zst|\.gz)?$/.test(name)) continue;
    // updates/ comes after kernel/ in the sorted list and wins, as it does for depmod.
    files.set(moduleName(name), join(modulesDir, name));
  }
  for (const [name, path] of others) files.set(name, path);
  const list = await readFile(join(modulesDir, "modules.builtin"), "utf8").catch(() => "");
  return { files, builtin: new Set(list.split("\n").filter(Boolean).map(moduleName)) };
}

/**
 * Files of modules by the names under which they are loaded, whatever the files are called.
 * @param folder a folder that gets decompressed copies.
 * @throws KmendError `NO_SUCH_MODULE` (exit 2)
 */
export async function modulesByName(paths: readonly string[], folder: string): Promise<ReadonlyMap<string, string>> {
  const named = new Map<string, string>();
  for (const path of paths) {
    const plain = await plainModule(path, folder).catch((error: unknown) => {
      throw new KmendError({
        code: "NO_SUCH_MODULE",
        message: `the module ${path} cannot be read`,
        why: messageOf(error),
        hint: "give the path of its .ko file",
        exitCode: ExitCode.usage,
        cause: error,
      });
    });
    const name = (await modinfoOf(plain)).get("name")?.[0];
    named.set(moduleName(name ?? path), path);
  }
  return named;
}

/**
 * Finds what has to be loaded for `wanted`, dependencies first, each once: `depends` of a module's .modinfo (written by modpost) and
 * its `softdep=pre:` modules where a file of that name, or of its generic implementation, exists.
 * @param folder gets decompressed copies, which the result names.
 * @throws KmendError `NO_SUCH_MODULE` for a wanted module that this kernel does not have.
 */
export async function resolveModules(
  index: ModuleIndex,
  wanted: readonly string[],
  folder: string,
): Promise<readonly string[]> {
  const [files = []] = await resolveInTurn(index, [wanted], folder);
  return files;
}

/**
 * The same for several lists: each gives what has to be loaded for it beyond those before it.
 * @throws errors of {@link resolveModules}
 */
export async function resolveInTurn(
  index: ModuleIndex,
  lists: readonly (readonly string[])[],
  folder: string,
): Promise<readonly (readonly string[])[]> {
  let ordered: string[] = [];
  const seen = new Set<string>();
  const visit = async (name: string, neededBy: string | undefined): Promise<void> => {
    if (seen.has(name) || index.builtin.has(name)) return;
    seen.add(name);
    const file = index.files.get(name);
    if (file === undefined) throw unknownModule(index, name, neededBy);
    const plain = await plainModule(file, folder);
    const info = await modinfoOf(plain);
    for (const before of prerequisites(info, index)) await visit(before, name);
    ordered.push(plain);
  };
  const found: string[][] = [];
  for (const list of lists) {
    ordered = [];
    for (const name of list) await visit(moduleName(name), undefined);
    found.push(ordered);
  }
  return found;
}

function prerequisites(info: ReadonlyMap<string, readonly string[]>, index: ModuleIndex): string[] {
  const hard = (info.get("depends") ?? []).flatMap((list) => list.split(",").filter(Boolean).map(moduleName));
  const soft = (info.get("softdep") ?? []).flatMap(softPrerequisites).flatMap((name) => {
    const found = [name, `${name}_generic`].find((candidate) => index.files.has(candidate));
    return found === undefined ? [] : [found];
  });
  return [...soft, ...hard];
}

/** The names after `pre:` in a softdep line (modprobe.d(5)). */
function softPrerequisites(line: string): string[] {
  const pre = /(?:^|\s)pre:\s*(.*?)(?=\s\w+:|$)/.exec(line)?.[1] ?? "";
  return pre.split(/\s+/).filter(Boolean).map(moduleName);
}

function unknownModule(index: ModuleIndex, name: string, neededBy: string | undefined): KmendError {
  const close = [...index.files.keys()].filter((other) => other.includes(name) || name.includes(other)).slice(0, 5);
  return new KmendError({
    code: "NO_SUCH_MODULE",
    message: `this kernel has no module ${name}`,
    why: neededBy === undefined ? undefined : `${neededBy} depends on it`,
    hint: close.length === 0 ? undefined : `did you mean ${close.join(", ")}?`,
    exitCode: neededBy === undefined ? ExitCode.usage : ExitCode.failure,
  });
}
