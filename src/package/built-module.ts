import { basename } from "node:path";
import type { ElfReader } from "../elf/reader.ts";
import { longestModuleName } from "../patch-module/module-name.ts";
import { type PatchModule, readPatchModule } from "../patch-module/patch-module.ts";
import { notAPatchModule, readPatchModuleFile } from "../patch-module/patch-module-file.ts";
import { sha256 } from "../support/cache.ts";
import { KmendError } from "../support/errors.ts";
import { type Architecture, architectures, checked } from "./package-name.ts";

/** SHF_RELA_LIVEPATCH of include/uapi/linux/elf.h. */
const livepatchFlag = 0x0010_0000;

/** A patch module that is ready to be packaged; its bytes are never changed again. */
export interface FinishedModule {
  readonly content: Uint8Array;
  /** File name with `.ko`. */
  readonly file: string;
  /** Name as the kernel counts it, with underscores. */
  readonly name: string;
  /** The kernel it was built for, from its vermagic. */
  readonly release: string;
  readonly architecture: Architecture;
  readonly sha256: string;
  readonly signed: boolean;
  /** SHA-256 of the section that a running kernel shows as /sys/module/NAME/notes/.note.gnu.build-id; empty without one. */
  readonly noteSha256: string;
  /** Patches that it says it was built from. */
  readonly patches: readonly { readonly name: string; readonly sha256: string }[];
  /** Vulnerabilities that it says it fixes. */
  readonly cves: readonly string[];
  /** Build id of the kernel image that it was proven against; empty when it does not say. */
  readonly kernelBuildId: string;
  /** What tells the very builds of the modules that it patches, by name: `BUILD-ID:SRCVERSION`, of which either may be missing. */
  readonly targetBuilds: ReadonlyMap<string, string>;
}

/**
 * Reads a patch module and refuses what must not be packaged: something else than a live patch, a module under another name than its own, one that
 * depends on other modules (the loader would not find them), has livepatch relocations of jump tables (applied too late to be seen), or goes on top of
 * other patch modules (which no package manager keeps in force).
 * @throws KmendError `NOT_A_PATCH_MODULE` (exit 2), `MANIFEST_DAMAGED`, `MODULE_ALTERED` (exit 4), `MODULE_UNFIT`
 */
export async function readFinishedModule(path: string): Promise<FinishedModule> {
  return finishedModule(path, await readPatchModuleFile(path));
}

/** {@link readFinishedModule} of content that is at hand. */
export function finishedModule(path: string, content: Uint8Array): FinishedModule {
  const module = readPatchModule(path, content);
  const { elf, info, name, release, signed, sha256: digest, buildIdNote } = module;
  const first = (key: string): string => info.get(key)?.[0] ?? "";
  const file = basename(path);
  if (release === "") throw notAPatchModule(path, "it does not say which kernel it was made for");
  const architecture = architectures[elf.header.machine];
  const problems = [
    /^[A-Za-z0-9_-]+\.ko$/.test(file) ? "" : "its file name is not letters, digits, dashes and underscores with .ko",
    name === file.replace(/\.ko$/, "").replaceAll("-", "_") ? "" : `its file is named ${file}, but the module ${name}`,
    name.length <= longestModuleName ? "" : "its name is too long for the kernel",
    first("depends") === "" ? "" : `it depends on the modules ${first("depends")}`,
    lateJumpTables(elf) ? "it has livepatch relocations of a jump table" : "",
    architecture === undefined ? `its machine (${elf.header.machine}) has no packages` : "",
  ].filter((problem) => problem !== "");
  if (problems.length > 0 || architecture === undefined) {
    throw new KmendError({
      code: "MODULE_UNFIT",
      message: `${path} cannot be packaged`,
      why: problems.join("\n"),
      hint: "build it again with kmend build, and keep its file name",
    });
  }
  requireAlone(path, module);
  return {
    content,
    file,
    name,
    release: checked("kernel", release),
    architecture,
    sha256: digest,
    signed,
    noteSha256: buildIdNote === undefined ? "" : sha256(buildIdNote),
    cves: module.manifest?.cves ?? [],
    patches: (info.get("kmend.patch") ?? []).flatMap((text) => {
      const match = /^([0-9a-f]{64}) (.*)$/.exec(text);
      return match === null ? [] : [{ sha256: match[1] as string, name: match[2] as string }];
    }),
    targetBuilds: new Map(
      (module.manifest?.modules ?? []).flatMap(({ name, buildId, srcversion }) =>
        buildId === undefined && srcversion === undefined ? [] : [[name, `${buildId ?? ""}:${srcversion ?? ""}`]],
      ),
    ),
    kernelBuildId: /^[0-9a-f]*$/.test(first("kmend.kernel")) ? first("kmend.kernel") : "",
  };
}

/** A stacked module was proven against the code of those below it; what a package manager installs, loads and removes is each package by itself. */
function requireAlone(path: string, { manifest }: PatchModule): void {
  const after = manifest?.after ?? [];
  if (after.length === 0) return;
  throw new KmendError({
    code: "MODULE_UNFIT",
    message: `${basename(path)} cannot be packaged`,
    why: `it goes on top of ${after.map(({ name }) => name.replace(/^ksplice-/, "update ")).join(", ")}, which a package cannot keep active`,
    hint: "make one module of all patches, which replaces whatever is loaded: kmend build FIRST.patch SECOND.patch",
  });
}

/** Only relocations against vmlinux are applied before the kernel reads a module's jump table. */
function lateJumpTables(elf: ElfReader): boolean {
  return elf.sections.some(
    ({ name, flags }) =>
      (flags & livepatchFlag) !== 0 && name.endsWith(".__jump_table") && !name.startsWith(".klp.rela.vmlinux."),
  );
}
