import { chmod, readdir, utimes, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { exists, rethrowDiskErrors } from "../../support/cache.ts";
import { findProgram } from "../../support/find-program.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { run } from "../../support/run.ts";
import { metadataText } from "../metadata.ts";
import type { PackagePlan } from "../package-plan.ts";
import { hasMetadata, metadataSource, moduleSource, specFile } from "./spec.ts";

/** How an RPM is made. */
export interface RpmOptions {
  /** Empty folder to work in; the packages stay there. */
  readonly folder: string;
  readonly kind: "binary" | "source";
  /** Hear rpmbuild's own output. */
  readonly onOutput?: ((text: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Makes an RPM with rpmbuild; a binary one from the plan's finished modules, a source one from its patches where it has any.
 * @returns path of the package inside the folder.
 * @throws KmendError `PROGRAM_MISSING` (exit 5), `PROGRAM_FAILED`
 */
export async function buildRpm(plan: PackagePlan, options: RpmOptions): Promise<string> {
  const { folder, kind, signal } = options;
  const sources = join(folder, "SOURCES");
  const spec = join(folder, `${plan.name}.spec`);
  await makeFolder(sources).catch(rethrowDiskErrors);
  await put(spec, specFile(plan), plan.epoch);
  for (const [name, content] of specSources(plan)) await put(join(sources, name), content, plan.epoch);
  // A source RPM has the spec with all macros expanded in it, and nothing of it is run: relative names keep this machine's folders out.
  const at = kind === "binary" ? folder : ".";
  const defines = { _topdir: at, _sourcedir: join(at, "SOURCES"), _rpmdir: at, _srcrpmdir: at };
  const words = Object.entries(defines).flatMap(([name, value]) => [
    "--define",
    `${name} ${value.replaceAll("%", "%%")}`,
  ]);
  const prebuilt = kind === "binary" && plan.patches.length > 0 ? ["--with", "prebuilt"] : [];
  const result = await run(
    "rpmbuild",
    [kind === "binary" ? "-bb" : "-bs", ...prebuilt, "--target", plan.architecture.rpm, ...words, spec],
    { cwd: folder, env: { SOURCE_DATE_EPOCH: String(plan.epoch) }, signal, timeout: 600_000 },
  );
  options.onOutput?.(result.all);
  const wanted = kind === "binary" ? plan.architecture.rpm : "";
  const found = (await readdir(join(folder, wanted))).find((name) => name.endsWith(".rpm"));
  if (found === undefined) throw new Error(`rpmbuild made no package in ${folder}`);
  return join(folder, wanted, found);
}

/** A source RPM keeps the times and modes of its files. */
async function put(path: string, content: string | Uint8Array, epoch: number): Promise<void> {
  await writeFile(path, content).catch(rethrowDiskErrors);
  await chmod(path, 0o644);
  await utimes(path, epoch, epoch);
}

/** Files that a spec takes besides itself, by name. */
export function specSources(plan: PackagePlan): ReadonlyMap<string, string | Uint8Array> {
  const files = new Map<string, string | Uint8Array>();
  for (const { file, content } of plan.patches) files.set(file, content);
  for (const module of plan.modules) {
    if (module.finished !== undefined) files.set(moduleSource(module), module.finished.content);
  }
  if (hasMetadata(plan)) files.set(metadataSource(plan), metadataText(plan));
  return files;
}

/** File name of a binary package. */
export function rpmFileName(plan: PackagePlan): string {
  return `${plan.name}-${plan.version}-${plan.release}.${plan.architecture.rpm}.rpm`;
}

/**
 * Signs an RPM in place with gpg, by the key that is named or the one of the user's `%_gpg_name`, and makes sure that it then has a signature:
 * tools that check one are content with none.
 * @throws KmendError `PROGRAM_FAILED`
 */
export async function signRpm(path: string, key: string | undefined, signal?: AbortSignal): Promise<void> {
  const define = key === undefined ? [] : ["--define", `_gpg_name ${key.replaceAll("%", "%%")}`];
  const program = await gpgForRpm(signal);
  await run("rpmsign", [...define, ...program, "--addsign", path], { signal, timeout: 120_000 });
  const { stdout } = await run(
    "rpm",
    ["-qp", "--nosignature", "--qf", "%{RSAHEADER:pgpsig}%{DSAHEADER:pgpsig}", path],
    {
      signal,
    },
  );
  if (stdout.replaceAll("(none)", "").trim() === "")
    throw new Error(`${basename(path)} has no signature after rpmsign`);
}

/** rpm is built with one path of gpg in it, where some distributions have nothing. */
async function gpgForRpm(signal: AbortSignal | undefined): Promise<string[]> {
  const { stdout } = await run("rpm", ["--eval", "%{__gpg}"], { signal });
  if (await exists(stdout.trim())) return [];
  const found = await findProgram("gpg");
  return found === undefined ? [] : ["--define", `__gpg ${found}`];
}
