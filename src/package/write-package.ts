import { copyFile, mkdir, mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { exists, rethrowDiskErrors, sha256, temporaryBeside, writeFileAtomically } from "../support/cache.ts";
import { KmendError } from "../support/errors.ts";
import { requireOutputFolder } from "../support/output-folder.ts";
import { buildDeb } from "./formats/deb.ts";
import { buildRpm, signRpm, specSources } from "./formats/rpm.ts";
import { specFile } from "./formats/spec.ts";
import { buildTarball } from "./formats/tarball.ts";
import type { PackagePlan } from "./package-plan.ts";

/** Kinds of packages that kmend writes. */
export const packageFormats = ["rpm", "srpm", "spec", "deb", "tar"] as const;
export type PackageFormat = (typeof packageFormats)[number];

/** A package that was written, as `--json` shows it. */
export interface WrittenPackage {
  readonly path: string;
  readonly format: PackageFormat;
  readonly name: string;
  readonly version: string;
  readonly release: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly modules: readonly {
    readonly kernel: string;
    readonly path: string;
    readonly sha256: string | null;
    readonly signed: boolean | null;
  }[];
}

/** How a package is written. */
export interface WriteOptions {
  readonly format: PackageFormat;
  /** Folder that gets it. */
  readonly output: string;
  /** Sign an RPM with the gpg key of that name; `""` is the one of the user's rpm settings. */
  readonly gpgKey?: string | undefined;
  readonly onOutput?: ((text: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Writes one package; it appears in the output folder when it is complete. A spec's sources are put beside it.
 * @throws KmendError `OUTPUT_MISSING` (exit 2), `SOURCE_DIFFERS`, `PROGRAM_MISSING` (exit 5), `PROGRAM_FAILED`
 */
export async function writePackage(plan: PackagePlan, options: WriteOptions): Promise<WrittenPackage> {
  const { format, output } = options;
  await requireOutputFolder(output);
  const path = format === "spec" ? await writeSpec(plan, output) : await writeFinished(plan, options);
  const content = await readFile(path);
  return {
    path,
    format,
    name: plan.name,
    version: plan.version,
    release: plan.release,
    bytes: content.length,
    sha256: sha256(content),
    modules: plan.modules.map(({ release, payload, finished }) => ({
      kernel: release,
      path: payload,
      sha256: finished?.sha256 ?? null,
      signed: finished?.signed ?? null,
    })),
  };
}

async function writeFinished(plan: PackagePlan, options: WriteOptions): Promise<string> {
  const { format, output, signal } = options;
  const folder = await mkdtemp(join(tmpdir(), "kmend-package-"));
  try {
    const made = await makeIn(plan, folder, options);
    if (options.gpgKey !== undefined && (format === "rpm" || format === "srpm")) {
      await signRpm(made, options.gpgKey === "" ? undefined : options.gpgKey, signal);
    }
    const path = join(output, basename(made));
    const temporary = temporaryBeside(path);
    try {
      await copyFile(made, temporary);
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      rethrowDiskErrors(error);
    }
    return path;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function makeIn(plan: PackagePlan, folder: string, { format, onOutput, signal }: WriteOptions): Promise<string> {
  const work = join(folder, "work");
  await mkdir(work);
  if (format === "deb") return buildDeb(plan, work, signal);
  if (format === "tar") return buildTarball(plan, work, signal);
  return buildRpm(plan, { folder: work, kind: format === "srpm" ? "source" : "binary", onOutput, signal });
}

async function writeSpec(plan: PackagePlan, output: string): Promise<string> {
  await writeSources(plan, output);
  const path = join(output, `${plan.name}.spec`);
  await writeFileAtomically(path, specFile(plan));
  return path;
}

/**
 * Puts what a spec takes besides itself into a folder.
 * @param without names of sources that stay out.
 * @throws KmendError `SOURCE_DIFFERS` when a file of that name is there with another content.
 */
export async function writeSources(
  plan: PackagePlan,
  output: string,
  without: ReadonlySet<string> = new Set(),
): Promise<void> {
  for (const [name, content] of specSources(plan)) {
    if (without.has(name)) continue;
    const path = join(output, name);
    if (!(await exists(path))) await writeFileAtomically(path, content);
    else if (!Buffer.from(content).equals(await readFile(path))) {
      throw new KmendError({
        code: "SOURCE_DIFFERS",
        message: `${path} exists already with other content`,
        why: "the spec takes a source of that name",
        hint: "write the spec into another folder with -o DIR",
      });
    }
  }
}
