import { readFile, realpath } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod/mini";
import type { CompilerComparison } from "../../kernel/compiler.ts";
import { sha256 } from "../../support/cache.ts";
import { ExitCode, KmendError, messageOf } from "../../support/errors.ts";
import { readInputFile } from "../../support/input-file.ts";
import { isTooDeep } from "../../support/json-depth.ts";
import type { BuildOptions, BuildResult } from "../build-types.ts";
import type { DiffResult } from "../compare-objects.ts";
import type { DiffOptions } from "../diff-objects.ts";
import type { Answer } from "./questions.ts";

/** Name of the file that says what the others are. */
export const recordName = "repro.json";

/** A unit of the build, with its objects as paths in the folder. */
export interface ReproPair {
  readonly source: string;
  readonly object: string;
  /** Undefined for a unit that the patch adds. */
  readonly original?: string | undefined;
  readonly patched: string;
}

/** Options that decide what becomes of a compiled change. */
export type ReproOptions = Pick<BuildOptions, "allowLayout" | "replace" | "removable" | "name" | "cves">;

/** What `build --save-repro` writes. */
export interface BuildRepro {
  readonly schema: 1;
  readonly command: "build";
  /** SHA-256 of the other files, by their paths in the folder. */
  readonly files: Readonly<Record<string, string>>;
  /** Version of kmend. */
  readonly kmend: string;
  readonly options: ReproOptions;
  readonly kernel: {
    readonly release: string;
    readonly distribution: string;
    readonly packageVersion: string;
    readonly buildId: string;
    /** Size of the unpacked image, in bytes. */
    readonly imageSize: number;
    /** Where the slices of the image lie in it; their contents follow each other in `image.gz`. In bytes. */
    readonly slices: readonly { readonly offset: number; readonly size: number }[];
    /** True when only the user's word says that image and source belong together. */
    readonly isFromElsewhere: boolean;
  };
  readonly compiler: CompilerComparison;
  /** Module that is not part of the kernel: its file is in the folder. */
  readonly external?:
    | {
        readonly name: string;
        readonly release: string;
        readonly compiler?: string | undefined;
        readonly folder: string;
      }
    | undefined;
  readonly patches: readonly string[];
  /** Names of the modules whose files are in the folder. */
  readonly modules: readonly string[];
  readonly answers: Readonly<Record<string, Answer>>;
  /** What the run came to; null when it ended with `error`. */
  readonly result: BuildResult | null;
  readonly error: { readonly code: string; readonly message: string } | null;
}

/** What `diff --save-repro` writes. */
export interface DiffRepro {
  readonly schema: 1;
  readonly command: "diff";
  readonly files: Readonly<Record<string, string>>;
  readonly kmend: string;
  /** Paths are names in the folder. */
  readonly options: DiffOptions;
  /** By name in the folder, what the file was called in the run. */
  readonly called: Readonly<Record<string, string>>;
  readonly result: DiffResult | null;
  readonly error: { readonly code: string; readonly message: string } | null;
}

export type Repro = BuildRepro | DiffRepro;

/** A path in the folder; whoever made the folder may be a stranger. */
const path = z.string().check(
  z.regex(/^[\p{L}\p{N}][^\p{Cc}\\]{0,1023}$/u),
  z.refine((text) => !text.split("/").includes("..")),
);
const word = z.string().check(z.regex(/^[^\p{Cc}]{0,4096}$/u));
const text = z.string().check(z.maxLength(1 << 20));
const size = z.int().check(z.gte(0), z.lte(2 ** 32));
const failure = z.nullable(z.looseObject({ code: word, message: text }));
const result = z.nullable(z.looseObject({ outcome: word }));
const files = z.record(path, z.string().check(z.regex(/^[0-9a-f]{64}$/)));
const common = { schema: z.literal(1), kmend: word, result, error: failure, files };

const buildShape = z.object({
  ...common,
  command: z.literal("build"),
  options: z.object({
    allowLayout: z.optional(z.array(word)),
    replace: z.optional(z.boolean()),
    removable: z.optional(z.boolean()),
    name: z.optional(word),
    cves: z.optional(z.array(word)),
  }),
  kernel: z.object({
    ...{ release: word, distribution: word, packageVersion: word },
    buildId: z.string().check(z.regex(/^[0-9a-f]{2,128}$/)),
    imageSize: size,
    slices: z.array(z.object({ offset: size, size })).check(z.maxLength(1 << 16)),
    isFromElsewhere: z.boolean(),
  }),
  compiler: z.object({ same: z.boolean(), kernel: word, here: word, program: word }),
  external: z.optional(z.object({ name: path, release: word, compiler: z.optional(word), folder: path })),
  patches: z.array(path),
  modules: z.array(path),
  answers: z.record(
    word,
    z.union([z.object({ value: z.unknown() }), z.object({ error: z.looseObject({ code: word, message: text }) })]),
  ),
});

const diffShape = z.object({
  ...common,
  command: z.literal("diff"),
  options: z.object({
    original: path,
    patched: path,
    object: z.optional(word),
    symtab: z.optional(path),
    symvers: z.optional(path),
    lines: z.optional(z.enum(["strict", "moved"])),
    layouts: z.optional(z.enum(["compare", "ignore"])),
    allowLayout: z.optional(z.array(word)),
  }),
  called: z.record(path, word),
});

const pairsShape = z.array(z.object({ source: word, object: word, original: z.optional(path), patched: path }));

/** @throws KmendError `NOT_A_REPRO` (exit 2) for a folder that `--save-repro` has not made, or that is damaged. */
export async function readRepro(folder: string): Promise<Repro> {
  let record: Repro;
  try {
    const content: unknown = JSON.parse(await readFile(join(folder, recordName), "utf8"));
    if (isTooDeep(content)) throw new Error("its record has lists in lists without end");
    record = z.discriminatedUnion("command", [buildShape, diffShape]).parse(content) as unknown as Repro;
  } catch (error) {
    throw notARepro(folder, error instanceof z.core.$ZodError ? z.prettifyError(error) : messageOf(error), error);
  }
  for (const name of neededFiles(record))
    if (record.files[name] === undefined) throw notARepro(folder, `it does not list ${name}`);
  const top = await realpath(folder);
  for (const [name, digest] of Object.entries(record.files)) {
    const place = await realpath(join(folder, name)).catch(() => "");
    if (place !== join(top, name)) throw notARepro(folder, `${name} is missing, or a link`);
    const content = await readInputFile(join(folder, name)).catch((error: unknown) => {
      throw notARepro(folder, messageOf(error), error);
    });
    if (sha256(content) !== digest) throw notARepro(folder, `${name} is not as it was written`);
  }
  return record;
}

/** Files that a repetition reads whatever the answers are. */
function neededFiles(record: Repro): readonly string[] {
  if (record.command === "diff") {
    const { original, patched, symtab, symvers } = record.options;
    return [original, patched, symtab, symvers].filter((name) => name !== undefined);
  }
  const { patches, external } = record;
  const usual = ["config", "Module.symvers.gz", "image.gz", "kallsyms.gz", "modules/modules.order"];
  const ofExternal = external === undefined ? [] : [`external/${external.name}.ko`, "external/Module.symvers"];
  return [...usual, ...patches, ...ofExternal];
}

/** The units in the answer of that name. @throws KmendError `NOT_A_REPRO` */
export function readPairs(folder: string, value: unknown, files: Repro["files"]): ReproPair[] {
  const parsed = pairsShape.safeParse(value);
  if (!parsed.success) throw notARepro(folder, z.prettifyError(parsed.error));
  for (const name of parsed.data.flatMap(({ original, patched }) => [original ?? patched, patched]))
    if (files[name] === undefined) throw notARepro(folder, `it does not list ${name}`);
  return parsed.data;
}

/** The error for a folder that cannot be repeated. */
export function notARepro(folder: string, problem: string, cause?: unknown): KmendError {
  return new KmendError({
    code: "NOT_A_REPRO",
    message: `${folder} is not a folder that --save-repro made, or it is damaged`,
    why: problem,
    hint: "give the folder of kmend build --save-repro or kmend diff --save-repro",
    exitCode: ExitCode.usage,
    cause,
  });
}
