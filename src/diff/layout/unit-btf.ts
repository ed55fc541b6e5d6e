import { readFile, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { temporaryBeside } from "../../support/cache.ts";
import { KmendError } from "../../support/errors.ts";
import { run } from "../../support/run.ts";

/** Milliseconds. The largest units of the kernel take a few hundred. */
const timeLimit = 120_000;

/**
 * Types of a compiled unit: pahole(1) makes BTF from its DWARF.
 * @param folder gets a file for as long as pahole runs.
 * @throws KmendError `UNIT_WITHOUT_TYPES` when the object has no debug information that pahole understands; `PROGRAM_MISSING`.
 */
export async function encodeUnitTypes(object: string, folder: string, signal?: AbortSignal): Promise<Uint8Array> {
  const file = temporaryBeside(join(folder, `${basename(object)}.btf`));
  const args = ["-J", "--btf_gen_floats", "--btf_encode_force", `--btf_encode_detached=${file}`, object];
  try {
    const result = await run("pahole", args, { timeout: timeLimit, signal, allowFailure: true });
    if (result.exitCode === -1 && result.all === "") await run("pahole", ["--version"], { signal });
    const btf = result.exitCode === 0 ? await readFile(file).catch(() => undefined) : undefined;
    if (btf !== undefined) return btf;
    throw new KmendError({
      code: "UNIT_WITHOUT_TYPES",
      message: "pahole finds no types in a compiled unit",
      where: object,
      why: result.all.trim() === "" ? "the unit was compiled without debug information" : result.all.trim(),
      hint: "the kernel's configuration must have debug information (CONFIG_DEBUG_INFO); kmend doctor shows whether pahole is there",
    });
  } finally {
    await rm(file, { force: true });
  }
}
