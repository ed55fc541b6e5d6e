import { readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join, normalize } from "node:path";
import { plainEnvironment } from "../../kernel/tree/kbuild.ts";
import { type RecordedStep, recordedSteps } from "../../kernel/tree/recorded-reads.ts";
import { createShadow, foldersOf } from "../../kernel/tree/shadow.ts";
import { dependencyCommand, objectPath, unitCommands } from "../../kernel/tree/unit-command.ts";
import { membershipOf } from "../../kernel/tree/units.ts";
import { type Refusal, refuse } from "../../refusals/refusals.ts";
import { exists, makeOnce, writeFileAtomically } from "../../support/cache.ts";
import { entriesBelowIfAny } from "../../support/find-files.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { mapConcurrently, run } from "../../support/run.ts";
import { type BuildContext, kbuildOf } from "../build-context.ts";
import type { IncludedChange } from "../pairs/differing-units.ts";
import { listOf } from "../warnings/warning.ts";
import { harmlessSteps } from "./image-parts.ts";
import { embeddedFromElsewhere } from "./rule-uses.ts";

/** Something of the image that is no C unit and reads headers: assembly, the vDSO, offsets for assembly, a linker script. */
interface ImageReader {
  readonly source: string;
  /** What it is called: its source, or the object where the source is that of a unit too. */
  readonly part: string;
  /** `values`: only the numbers that it prints count. `text`: it is no object. */
  readonly result: "object" | "values" | "text";
  /** What a compiler is called with, its input left out. */
  readonly compiler: string;
  /** Files of the tree that it reads. */
  readonly reads: readonly string[];
}

export interface ReaderVerdict {
  readonly refusals: readonly Refusal[];
  /** Changed files that are read, and with which everything comes out as before. */
  readonly same: readonly string[];
}

/**
 * Refuses changed headers that something else than C units reads, which comes out otherwise with them: the image contains what was made with the old
 * ones. It is compared like a unit, as preprocessed text, and where that differs as an object without debug information.
 */
export async function refuseForImageReaders(change: IncludedChange, context: BuildContext): Promise<ReaderVerdict> {
  if (change.paths.length === 0 || context.tree.environment.external !== undefined) return { refusals: [], same: [] };
  const { progress, folder, tree } = context;
  const changed = new Set(change.paths);
  const all = await progress.phase("readers", "Find assembly that includes changed files", () => imageReaders(context));
  const readers = all.filter(({ reads }) => reads.some((path) => changed.has(path)));
  if (readers.length === 0) return { refusals: [], same: [] };
  const folders = readers.flatMap(({ source }) => foldersOf(objectPath(source)));
  const [original, patched] = [join(folder, "readers-original"), join(folder, "readers-patched")];
  createShadow(tree.path, original, new Map(), folders);
  createShadow(tree.path, patched, change.files, folders);
  await makeStubs(readers, context);
  const title = `Compare ${readers.length} parts of the image that are no C units`;
  const differs = await progress.phase("parts", title, () =>
    mapConcurrently(readers, context.jobs, (reader) => isDifferent(reader, original, patched, context)),
  );
  const different = readers.filter((_, index) => differs[index] === true);
  const isRead = (path: string): boolean => readers.some(({ reads }) => reads.includes(path));
  const refusals = change.paths.flatMap((path) => {
    const sources = different.filter(({ reads }) => reads.includes(path)).map(({ part }) => part);
    if (sources.length === 0) return [];
    const part = `${listOf(sources)}, which ${sources.length === 1 ? "is no C unit and comes" : "are no C units and come"} out otherwise with it`;
    const advice = "leave what they use as it is, and give the C code that has to change something of its own";
    return [refuse("IMAGE_PART", path, sources[0] ?? path, { part, advice })];
  });
  const refused = new Set(refusals.map(({ what }) => what));
  return { refusals, same: change.paths.filter((path) => isRead(path) && !refused.has(path)) };
}

/** Empty headers in place of those that only a build of the whole kernel generates, so that all others can be compared. */
async function makeStubs(readers: readonly ImageReader[], { tree, folder }: BuildContext): Promise<void> {
  for (const name of new Set(readers.flatMap(({ reads }) => reads))) {
    if (await exists(join(tree.path, name))) continue;
    await makeFolder(dirname(join(folder, stubs, name)));
    await writeFile(join(folder, stubs, name), "");
  }
}

const stubs = "readers-stubs";

async function isDifferent(
  { source, result, compiler: called }: ImageReader,
  original: string,
  patched: string,
  context: BuildContext,
): Promise<boolean> {
  const compiler = `${called} -idirafter ${join(context.folder, stubs)}`;
  const both = async (command: string): Promise<[string | undefined, string | undefined]> => [
    await outputOf(command, original, context),
    await outputOf(command, patched, context),
  ];
  const texts = await both(`${compiler} -E -o - ${source}`);
  const [old, fresh] = texts.map((text) => text?.replaceAll(/^(#.*)?\n/gm, ""));
  if (old !== undefined && old === fresh) return false;
  if (old === undefined || fresh === undefined || result === "text") return true;
  if (result === "values") {
    const [before, after] = await both(`${compiler} -g0 -S -o - ${source}`);
    return before === undefined || valuesIn(before) !== valuesIn(after ?? "");
  }
  const [before, after] = await both(`${compiler} -g0 -c -o /dev/stdout ${source} | base64`);
  return before === undefined || before === "" || before !== after;
}

/** The lines that Kbuild makes a header of (scripts/Makefile.lib, `sed-offsets`). */
function valuesIn(assembly: string): string {
  return (assembly.match(/^.*->.*$/gm) ?? []).map((line) => line.trim()).join("\n");
}

async function outputOf(command: string, cwd: string, { signal }: BuildContext): Promise<string | undefined> {
  const { exitCode, stdout } = await run("sh", ["-c", command], {
    ...{ cwd, env: plainEnvironment(), cleanEnv: true, signal, allowFailure: true },
  });
  signal?.throwIfAborted();
  return exitCode === 0 ? stdout : undefined;
}

/** All of them, with what they read in the prepared tree. That is found out once, in some seconds, and kept. */
async function imageReaders(context: BuildContext): Promise<ImageReader[]> {
  const path = join(context.toolchainFolder, "image-readers-2.txt");
  await makeOnce(path, async (temporary) => {
    const found = await findReaders(context);
    const lines = found.map(({ source, part, result, compiler, reads }) =>
      [source, part, result, compiler, ...reads].join("\t"),
    );
    await writeFileAtomically(temporary, lines.join("\n"));
  });
  return (await readFile(path, "utf8")).split("\n").flatMap((line): ImageReader[] => {
    const [source, part, result, compiler, ...reads] = line.split("\t");
    if (source === undefined || part === undefined || compiler === undefined) return [];
    return [{ source, part, result: result === "values" || result === "text" ? result : "object", compiler, reads }];
  });
}

/** Folders of the tree that hold assembly of a kernel. */
const sourceFolders = ["lib", "kernel", "crypto", "certs", "usr", "drivers", "net", "security", "virt", "mm"];

/** C sources of which only the numbers are used, for assembly. */
const offsets = /^arch\/.*-offsets\.c$/;

/** Folders whose sources are linked into something of their own, which the kernel embeds. */
const embedded = /^arch\/\w+\/(.*\/)?(vdso\w*|realmode|purgatory)\//;

async function findReaders(context: BuildContext): Promise<ImageReader[]> {
  const { tree, kernelFolder, jobs } = context;
  const arch = `arch/${tree.environment.variables["SRCARCH"] ?? "x86"}`;
  const files = (await Promise.all([arch, ...sourceFolders].map((folder) => sourcesIn(tree.path, folder)))).flat();
  const kept = files.filter((path) => !path.startsWith(`${arch}/boot/`) && !path.startsWith(`${arch}/um/`)).sort();
  const scripts = kept.filter((path) => path.endsWith(".lds.S"));
  const others = kept.filter((path) => !scripts.includes(path));
  const asked = others.filter((path) => path.endsWith(".S") || embedded.test(path) || offsets.test(path));
  const membership = await membershipOf(kbuildOf(context), asked);
  const isUnit = (path: string): boolean => membership.get(path)?.kind !== "not-built";
  const assembly = asked.filter((path) => path.endsWith(".S") && isUnit(path));
  const all = await recordedSteps(tree.path, kernelFolder);
  const steps = all.filter(({ target }) => target.endsWith(".s"));
  const recorded = new Set(steps.map(({ target }) => target.replace(/\.s$/, ".c")));
  const pieces = asked.filter(
    (path) => (embedded.test(path) || offsets.test(path)) && !isUnit(path) && !recorded.has(path),
  );
  const compilers = await compilersOf([...assembly, ...pieces], context);
  const values = steps.flatMap(({ target, command, reads }) => {
    const source = reads[0] ?? target.replace(/\.s$/, ".c");
    const compiler = compilerIn(command.replace(/ -S -o \S+ \S+.*$/, ""));
    return [{ source, part: source, result: "values" as const, compiler, reads }];
  });
  const forAssembly = compilers.get(assembly.find((path) => path.startsWith(`${arch}/kernel/`)) ?? "");
  const forC = values[0]?.compiler;
  const readers = [...assembly, ...pieces, ...scripts].flatMap((source): Omit<ImageReader, "reads">[] => {
    if (offsets.test(source)) {
      const own = compilers.get(source);
      return own === undefined ? [] : [{ source, part: source, result: "values", compiler: own }];
    }
    const borrowed = source.endsWith(".S") ? forAssembly : pieceCompiler(source, compilers, forC);
    const compiler = compilers.get(source) ?? borrowed;
    if (compiler === undefined) return [];
    return [{ source, part: source, result: source.endsWith(".lds.S") ? "text" : "object", compiler }];
  });
  const ruled = await mapConcurrently(await embeddedFromElsewhere(context), jobs, async ({ source, object }) => {
    const compiler = (await compilersOf([source], context, object)).get(source);
    return compiler === undefined ? [] : [{ source, part: object, result: "object" as const, compiler }];
  });
  const read = await mapConcurrently([...readers, ...ruled.flat()], jobs, async (reader): Promise<ImageReader> => {
    return { ...reader, reads: await readsOf(reader, context) };
  });
  const programs = all
    .filter(({ target }) => !target.endsWith(".s") && !harmlessSteps.test(target))
    .flatMap(programReader);
  return [...read.filter(({ reads }) => reads.length > 0), ...values, ...programs];
}

/** A program that the build runs: what it makes of a header is part of the image. Those of tools/ are compiled elsewhere and have headers of their own. */
function programReader({ command, reads }: RecordedStep): ImageReader[] {
  const [source] = reads;
  const compiler = /^(\S*(?:gcc|cc|clang)\S* .*?) (?:-c )?-o \S+ \S+\.c\b/.exec(command)?.[1];
  if (source === undefined || !source.endsWith(".c") || source.startsWith("tools/") || compiler === undefined)
    return [];
  return [{ source, part: source, result: "text", compiler: compilerIn(compiler), reads }];
}

/** Sources of a folder, and of those in it. */
async function sourcesIn(tree: string, folder: string): Promise<string[]> {
  const entries = await entriesBelowIfAny(join(tree, folder));
  return entries.flatMap((entry) => {
    const path = normalize(join(folder, entry.parentPath.slice(join(tree, folder).length), entry.name));
    return entry.isFile() && (/\.S$/.test(path) || (/\.c$/.test(path) && (embedded.test(path) || offsets.test(path))))
      ? [path]
      : [];
  });
}

/** What Kbuild calls the compiler with, where it knows. @param object what is made of a single source, where its place does not tell. */
async function compilersOf(
  sources: readonly string[],
  context: BuildContext,
  object?: string,
): Promise<Map<string, string>> {
  const { tree } = context;
  const units = sources.map((source) => ({ source, object: object ?? objectPath(source) }));
  const ask = async (some: typeof units): Promise<[string, string][]> => {
    const told = await unitCommands(tree, tree.path, some, context).catch(() => undefined);
    if (told !== undefined) {
      return told.flatMap((command): [string, string][] => {
        const question = dependencyCommand(command);
        return question === undefined ? [] : [[command.source, compilerIn(question.replace(/ -M \S+$/, ""))]];
      });
    }
    if (some.length === 1) return [];
    // One that Kbuild cannot make keeps it from telling of the others.
    const middle = some.length >> 1;
    return [...(await ask(some.slice(0, middle))), ...(await ask(some.slice(middle)))];
  };
  return new Map(units.length === 0 ? [] : await ask(units));
}

function compilerIn(command: string): string {
  return command.replaceAll(/ -Wp,-MM?D,\S+/g, "").trim();
}

/** For a C source that Kbuild has no rule of its own for: a neighbour's, or that of a unit. 32-bit code of the vDSO is compiled as such. */
function pieceCompiler(
  source: string,
  compilers: ReadonlyMap<string, string>,
  forUnits: string | undefined,
): string | undefined {
  const beside = [dirname(source), dirname(dirname(source))].flatMap((folder) =>
    [...compilers].filter(([path]) => dirname(path) === folder && path.endsWith(".c")).map(([, compiler]) => compiler),
  );
  const compiler = beside[0] ?? forUnits;
  if (!/\/vdso32\//.test(source)) return compiler;
  return compiler
    ?.replaceAll(/ (-m64|-mcmodel=\w+|-fno-pic|-fcf-protection=\S+|-mno-red-zone|-mskip-rax-setup)\b/g, "")
    .concat(" -m32 -mregparm=0 -fpic");
}

async function readsOf({ compiler, source }: Omit<ImageReader, "reads">, context: BuildContext): Promise<string[]> {
  // What is not there is generated later in a build of the whole kernel.
  const text = await outputOf(`${compiler} -M -MG ${source}`, context.tree.path, context);
  const words = (text ?? "")
    .split(/[\s\\]+/)
    .filter((word) => word !== "" && !word.endsWith(":") && !word.startsWith("/"));
  return [...new Set(words.map((word) => normalize(word)))].filter((path) => basename(path) !== "");
}
