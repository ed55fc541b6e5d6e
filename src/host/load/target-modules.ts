import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gnuBuildId } from "../../elf/build-id.ts";
import { ElfFormatError } from "../../elf/format-error.ts";
import { ElfReader } from "../../elf/reader.ts";
import type { ManifestModule } from "../../patch-module/manifest.ts";
import { readModinfo } from "../../patch-module/modinfo.ts";
import { compressionOf, decompress } from "../../support/decompress.ts";
import { KmendError } from "../../support/errors.ts";
import { moduleName } from "../../support/module-file-name.ts";
import { readState } from "../kernel/host.ts";

/** How the module that a patch changes is there: `same` also where nothing can be compared. */
export type TargetModuleState =
  | { readonly kind: "same" }
  | { readonly kind: "other"; readonly where: string; readonly found: string; readonly wanted: string }
  | { readonly kind: "unknown"; readonly why: string };

interface Identity {
  readonly where: string;
  readonly buildId: string | undefined;
  readonly srcversion: string | undefined;
}

/**
 * Holds the module that a patch changes against the one that it was proven for: the loaded one, or else the file that would be loaded, by build id, and by the
 * digest of its sources where there is none.
 */
export async function compareTargetModule(
  root: string,
  release: string,
  wanted: ManifestModule,
  running: boolean,
): Promise<TargetModuleState> {
  if (wanted.buildId === undefined && wanted.srcversion === undefined) {
    return {
      kind: "unknown",
      why: `the module ${wanted.name} has neither a build id nor a source digest: its build cannot be compared`,
    };
  }
  const loaded = running && (await readState(root, "/sys/module", wanted.name, "initstate")) !== undefined;
  const there = loaded ? await loadedIdentity(root, wanted.name) : await fileIdentity(root, release, wanted.name);
  if (there === undefined) return { kind: "same" };
  if (typeof there === "string") return { kind: "unknown", why: there };
  for (const key of ["buildId", "srcversion"] as const) {
    const [found, expected] = [there[key], wanted[key]];
    if (found === undefined || expected === undefined) continue;
    return found === expected ? { kind: "same" } : { kind: "other", where: there.where, found, wanted: expected };
  }
  return {
    kind: "unknown",
    why: `${there.where} has no build id: nothing shows whether it is the module that was proven`,
  };
}

async function loadedIdentity(root: string, name: string): Promise<Identity> {
  const where = join("/sys/module", name);
  const note = await readFile(join(root, where, "notes/.note.gnu.build-id")).catch(() => undefined);
  return {
    where,
    buildId: note === undefined ? undefined : gnuBuildId(note, hostIsLittleEndian),
    srcversion: await readState(root, where, "srcversion"),
  };
}

const hostIsLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** Most bytes that a module has when it is unpacked; amdgpu.ko has 30 MB with its debug information stripped. */
const moduleLimit = 1 << 28;

/** Of the file that modprobe would load, which depmod has chosen among those of that name; undefined when there is none, a sentence when it cannot be read. */
async function fileIdentity(root: string, release: string, name: string): Promise<Identity | undefined | string> {
  const folder = join("/lib/modules", release);
  const table = (await readState(root, folder, "modules.dep")) ?? "";
  const path = table
    .split("\n")
    .map((line) => line.slice(0, Math.max(0, line.indexOf(":"))))
    .find((file) => moduleName(file) === name);
  if (path === undefined) return undefined;
  const where = path.startsWith("/") ? path : join(folder, path);
  try {
    const content = await readFile(join(root, where));
    const elf = new ElfReader(
      compressionOf(content) === undefined ? content : await decompress(content, where, { limit: moduleLimit }),
    );
    const note = elf.section(".note.gnu.build-id");
    return {
      where,
      buildId: note === undefined ? undefined : gnuBuildId(note.data, elf.littleEndian),
      srcversion: readModinfo(elf).get("srcversion")?.[0],
    };
  } catch (error) {
    if (error instanceof KmendError && error.code === "PROGRAM_MISSING") {
      return `${where} is packed, and no program here unpacks it: it was not compared`;
    }
    if (!(error instanceof ElfFormatError) && !(error instanceof Error && "code" in error)) throw error;
    return `${where} cannot be read: it was not compared`;
  }
}
