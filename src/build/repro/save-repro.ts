import { chmod, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { ShippedModules } from "../../kernel/modules/shipped-module.ts";
import { cacheRoot, rethrowDiskErrors, sha256 } from "../../support/cache.ts";
import { ExitCode, KmendError, messageOf, systemErrorCode } from "../../support/errors.ts";
import { readInputFile } from "../../support/input-file.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { requireOutputFolder } from "../../support/output-folder.ts";
import { version } from "../../support/version.ts";
import type { BuildResult } from "../build-types.ts";
import type { Session } from "../examination.ts";
import { isFromElsewhere } from "../foreign-types.ts";
import type { CompiledUnits, UnitPair } from "../pairs/unit-pairs.ts";
import type { Answer, RecordedQuestions } from "./questions.ts";
import { type BuildRepro, type DiffRepro, type ReproPair, recordName } from "./repro-record.ts";

const compress = promisify(gzip);

/** How a run ended. */
export type Ending<Result> = { readonly result: Result } | { readonly error: unknown };

/**
 * Makes the folder that a run's inputs go to, before any work is done for it.
 * @throws KmendError `REPRO_EXISTS` (exit 2) for one that has something in it, and those of {@link requireOutputFolder}.
 */
export async function requireReproFolder(folder: string): Promise<void> {
  const found = await readdir(folder).catch((error: unknown) => {
    if (systemErrorCode(error) === "ENOENT") return undefined;
    if (systemErrorCode(error) === "ENOTDIR") return ["a file"];
    return rethrowDiskErrors(error);
  });
  if (found !== undefined && found.length > 0) {
    throw new KmendError({
      code: "REPRO_EXISTS",
      message: `${folder} is not an empty folder`,
      why: "kmend writes what the run reads there, and nothing else may be in it",
      hint: "give --save-repro a folder that does not exist",
      exitCode: ExitCode.usage,
    });
  }
  if (found === undefined) await makeFolder(folder).catch(rethrowDiskErrors);
  await requireOutputFolder(folder);
}

/**
 * Writes all that a build read behind its compilers into a folder: patches and touched sources, objects of all units, configuration, commands, kernel identity, the
 * slices of the image that were looked at, patched modules, exports, and the result.
 * @throws KmendError `DISK_FULL` and the like.
 */
export async function saveBuildRepro(
  folder: string,
  session: Session,
  recorded: RecordedQuestions,
  ending: Ending<BuildResult>,
): Promise<void> {
  const { kernel, options, compiler, external, context } = session;
  const writer = new FolderWriter(folder);
  const write: Write = (path, content) => writer.write(path, content);
  const patches = options.patches.map((path, index) => `patches/${index + 1}-${basename(path)}`);
  for (const [index, path] of options.patches.entries()) await write(patches[index] as string, await readFile(path));
  for (const { path, original } of session.change.files)
    if (original !== null) await write(`sources/${path}`, original);
  await write("config", await readFile(kernel.configPath));
  await write("Module.symvers.gz", await compress(await readFile(kernel.symversPath)));
  const units = new UnitFiles(write);
  const answers: Record<string, Answer> = {};
  for (const [name, answer] of recorded.answers)
    answers[name] =
      isUnits(name) && "value" in answer ? { value: await units.add(answer.value as CompiledUnits) } : answer;
  await write("commands.json", JSON.stringify(await commandsOf(units.sources, session), null, 2));
  const modules = await saveModules(new Set([...units.objects, ...recorded.objects()]), session, write);
  if (external !== undefined) {
    await write(`external/${external.name}.ko`, external.file);
    await write("external/Module.symvers", recorded.symversText());
  }
  const { file } = kernel.image.unpacked;
  const slices = file.slices();
  await write("image.gz", await compress(Buffer.concat(slices.map(({ content }) => content))));
  // Decoding writes it, where a run that ended early had no need of it.
  kernel.image.kallsyms();
  await write("kallsyms.gz", await compress(await readFile(join(kernel.image.unpacked.folder, "kallsyms.bin"))));
  const { release, distribution, packageVersion, buildId } = kernel;
  await writer.finish({
    ...{ schema: 1, command: "build", kmend: version() },
    options: {
      allowLayout: options.allowLayout,
      replace: options.replace,
      removable: options.removable,
      name: session.name,
      ...((options.cves ?? []).length === 0 ? {} : { cves: options.cves }),
    },
    kernel: {
      ...{ release, distribution, packageVersion, buildId, imageSize: file.size },
      slices: slices.map(({ offset, content }) => ({ offset, size: content.length })),
      isFromElsewhere: isFromElsewhere(session),
    },
    compiler,
    ...(external === undefined
      ? {}
      : {
          external: {
            ...{ name: external.name, release: external.release, compiler: external.compiler },
            folder: context.tree.environment.external ?? "",
          },
        }),
    ...{ patches, modules, answers },
    ...endOf(ending),
  });
}

/** Writes the inputs of a comparison of two objects into a folder; nothing where one of them cannot be read. */
export async function saveDiffRepro(
  folder: string,
  options: DiffRepro["options"],
  ending: Ending<NonNullable<DiffRepro["result"]>>,
): Promise<void> {
  const kinds = (["original", "patched", "symtab", "symvers"] as const).filter((kind) => options[kind] !== undefined);
  const paths = kinds.map((kind) => options[kind] as string);
  const contents = await Promise.allSettled(paths.map(readInputFile));
  if (contents.some(({ status }) => status === "rejected")) return;
  const names = Object.fromEntries(kinds.map((kind) => [kind, `${kind}-${basename(options[kind] as string)}`]));
  const writer = new FolderWriter(folder);
  const write: Write = (path, content) => writer.write(path, content);
  for (const [index, content] of contents.entries())
    if (content.status === "fulfilled") await write(names[kinds[index] as string] as string, content.value);
  const { object, lines, layouts, allowLayout } = options;
  const kept = { object, lines, layouts, allowLayout, ...names } as DiffRepro["options"];
  const called = Object.fromEntries(kinds.map((kind, index) => [names[kind], paths[index] as string]));
  const record = { schema: 1, command: "diff", kmend: version(), options: kept, called } as const;
  await writer.finish({ ...record, ...endOf(ending) });
}

/** Names of the questions whose answers are compiled units. */
export function isUnits(name: string): boolean {
  return /(^| )units$/.test(name);
}

/** Writes files into the folder, and remembers their digests. */
class FolderWriter {
  readonly #folder: string;
  /** SHA-256 by path in the folder. */
  readonly files: Record<string, string> = {};

  constructor(folder: string) {
    this.#folder = folder;
  }

  async write(path: string, content: Uint8Array | string): Promise<void> {
    const place = join(this.#folder, path);
    await makeFolder(dirname(place)).catch(rethrowDiskErrors);
    await writeFile(place, content).catch(rethrowDiskErrors);
    this.files[path] = sha256(content);
  }

  /** Writes the record last: a folder without it is none. */
  async finish(record: Omit<BuildRepro, "files"> | Omit<DiffRepro, "files">): Promise<void> {
    const script = "#!/bin/sh\n# Repeats a run of kmend from the files beside this script.\n";
    await this.write("repeat.sh", `${script}exec kmend repeat "$(dirname "$0")" "$@"\n`);
    await chmod(join(this.#folder, "repeat.sh"), 0o755);
    await this.write(recordName, `${JSON.stringify({ ...record, files: this.files }, null, 2)}\n`);
  }
}

type Write = (path: string, content: Uint8Array | string) => Promise<void>;

/** What the run came to, in its record. */
function endOf<Result>(ending: Ending<Result>): { result: Result | null; error: BuildRepro["error"] } {
  if ("result" in ending) return { result: ending.result, error: null };
  const { error } = ending;
  return {
    result: null,
    error: { code: error instanceof KmendError ? error.code : "INTERNAL", message: messageOf(error) },
  };
}

/** Objects of units, each written once. */
class UnitFiles {
  readonly #write: Write;
  readonly #names = new Map<string, Promise<string>>();
  readonly sources = new Set<string>();
  readonly objects = new Set<string>();

  constructor(write: Write) {
    this.#write = write;
  }

  async add({ pairs, ...others }: CompiledUnits): Promise<object> {
    const kept: ReproPair[] = [];
    for (const pair of pairs) kept.push(await this.#addPair(pair));
    return { ...others, pairs: kept };
  }

  async #addPair({ source, object, originalPath, patchedPath }: UnitPair): Promise<ReproPair> {
    this.sources.add(source);
    this.objects.add(object);
    const base = `objects/${source.replaceAll("/", "_").replace(/\.[cS]$/, "")}`;
    const original = originalPath === undefined ? {} : { original: await this.#keep(originalPath, `${base}.original`) };
    return { source, object, ...original, patched: await this.#keep(patchedPath, `${base}.patched`) };
  }

  #keep(path: string, base: string): Promise<string> {
    const known = this.#names.get(path) ?? this.#copy(path, `${base}-${this.#names.size}.o`);
    this.#names.set(path, known);
    return known;
  }

  async #copy(path: string, name: string): Promise<string> {
    await this.#write(name, await readFile(path));
    return name;
  }
}

/** The commands that made the objects, for people: a repetition compiles nothing. */
async function commandsOf(sources: ReadonlySet<string>, { context }: Session): Promise<Record<string, unknown>> {
  const commands = await Promise.all([...sources].map(async (path) => [path, await context.cache.command(path)]));
  return Object.fromEntries(commands);
}

/** Files of the patched modules, placed as in a folder of modules. @returns their names. */
async function saveModules(
  objects: ReadonlySet<string>,
  { kernel, external }: Session,
  write: Write,
): Promise<string[]> {
  const names = [...objects].filter((name) => name !== "vmlinux" && name !== external?.name).sort();
  const modules = await ShippedModules.open(kernel.modulesDir);
  const found = names.flatMap((name) => modules.find(name) ?? []);
  for (const module of found)
    await write(`modules/kernel/${module.modfile}.ko`, await modules.readOnce(module, cacheRoot()));
  await write("modules/modules.order", found.map(({ modfile }) => `kernel/${modfile}.ko\n`).join(""));
  await write("modules/modules.builtin", "");
  return found.map(({ name }) => name);
}
