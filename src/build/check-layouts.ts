import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ChangeSet } from "../change/change-set.ts";
import { usedBeyondDeclarations } from "../change/held-types.ts";
import { typesOfChange } from "../change/type-change.ts";
import { checkLayouts, compareWithTarget, type LayoutFindings } from "../diff/layout.ts";
import { ElfReader } from "../elf/reader.ts";
import type { ExternalModule } from "../kernel/modules/external-module.ts";
import { ShippedModules } from "../kernel/modules/shipped-module.ts";
import type { TargetKernel } from "../kernel/target-kernel.ts";
import { Btf } from "../kernel/types/btf.ts";
import type { Refusal } from "../refusals/refusals.ts";
import { cacheRoot } from "../support/cache.ts";
import { counted } from "../support/counted.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { makeFolder } from "../support/make-folder.ts";
import { mapConcurrently } from "../support/run.ts";
import type { BuildContext } from "./build-context.ts";
import type { OriginalUnit, UnitPair } from "./pairs/unit-pairs.ts";

/**
 * Checks that no unit of a change disagrees with the running kernel about a type. A type that several units see is reported once.
 * @param allowed names that `--allow-layout` accepts.
 */
export async function checkUnitLayouts(
  pairs: readonly UnitPair[],
  change: ChangeSet,
  types: KernelTypes,
  allowed: readonly string[],
  context: BuildContext,
): Promise<LayoutFindings> {
  const { progress, signal } = context;
  return progress.phase("layout", "Compare data layouts", async () => {
    const { introduced, removed } = typesOfChange(change.files);
    const reached = usedBeyondDeclarations(change.files);
    const folder = join(context.folder, "layout");
    await makeFolder(folder);
    // Two programs run at once for each unit.
    const lanes = Math.max(1, Math.floor(context.jobs / 2));
    const findings = await mapConcurrently(pairs, lanes, async ({ source, object, originalPath, patchedPath }) => {
      if (originalPath === undefined) return { refusals: [], notes: [] };
      const paths = { originalObject: originalPath, patchedObject: patchedPath, folder };
      return checkLayouts({
        ...paths,
        unit: source,
        target: await types.of(object),
        allowed,
        introduced,
        reached,
        removed,
        signal,
      });
    });
    const notes = new Set(findings.flatMap(({ notes: found }) => found));
    if ((await types.of("vmlinux")) === undefined) notes.add(withoutKernelTypes);
    return { refusals: mergeUnits(findings), filled: filledEverywhere(findings), notes: [...notes] };
  });
}

/** Types of which every unit that sees a difference sees only new members in padding. */
function filledEverywhere(findings: readonly LayoutFindings[]): NonNullable<LayoutFindings["filled"]> {
  const filled = new Map(findings.flatMap((unit) => [...(unit.filled ?? [])]));
  for (const unit of findings)
    for (const { what } of unit.refusals) if (unit.filled?.has(what) !== true) filled.delete(what);
  return filled;
}

const withoutKernelTypes =
  "this kernel has no type information (CONFIG_DEBUG_INFO_BTF): types that only the patched code uses are not compared with its own";

/** How many differing types a failed proof names. */
const shownTypes = 3;

/** Adds to each function that could not be proven what is different in the types of its unit: evidence of another source or configuration. */
export async function explainUnproven(
  refusals: readonly Refusal[],
  pairs: readonly UnitPair[],
  types: Pick<KernelTypes, "of">,
  context: Pick<BuildContext, "folder" | "signal">,
): Promise<readonly Refusal[]> {
  const explained = new Map<UnitPair, Promise<string>>();
  return Promise.all(
    refusals.map(async (refusal) => {
      const pair = pairs.find(({ source }) => source === refusal.unit);
      if (refusal.code !== "UNPROVEN_FUNCTION" || pair === undefined) return refusal;
      const evidence = explained.get(pair) ?? typeEvidence(pair, types, context);
      explained.set(pair, evidence);
      return { ...refusal, hint: `${refusal.hint}${await evidence}` };
    }),
  );
}

/**
 * Holds the types of changed units against the kernel's own where a user said which configuration and source belong to an image. Code that is the same byte
 * for byte proves itself only: new code may reach a member that is elsewhere in the running kernel.
 * @throws KmendError `IMAGE_OF_OTHER_CONFIG` (exit 2) with the first types that differ; `BTF_FORMAT`, `BTF_MISSING` for an image whose types are damaged, or
 * gone though the configuration says that it has them.
 */
export async function requireKernelTypes(
  pairs: readonly OriginalUnit[],
  types: Pick<KernelTypes, "of">,
  release: string,
  { folder, jobs, signal }: Pick<BuildContext, "folder" | "jobs" | "signal">,
): Promise<void> {
  const differing = await mapConcurrently(pairs, jobs, ({ originalPath, object }) =>
    differingTypes(originalPath, object, types, { folder, signal }),
  );
  const index = differing.findIndex((found) => found.length > 0);
  if (index < 0) return;
  throw new KmendError({
    code: "IMAGE_OF_OTHER_CONFIG",
    message: `the kernel ${release} was not built with this configuration and source`,
    where: (pairs[index] as OriginalUnit).source,
    why: `types of this unit are not those of the kernel: ${shownOf(differing[index] as readonly string[])}`,
    hint: "give the configuration that the image was built with (--config FILE) and its exact source, or the image that was built from these (--image FILE)",
    exitCode: ExitCode.usage,
  });
}

async function typeEvidence(
  { originalPath, object }: UnitPair,
  types: Pick<KernelTypes, "of">,
  { folder, signal }: Pick<BuildContext, "folder" | "signal">,
): Promise<string> {
  // What is wrong with the kernel's types must not hide that the code differs.
  const differing = await differingTypes(originalPath, object, types, { folder, signal }).catch((error: unknown) => {
    if (error instanceof KmendError && error.code.startsWith("BTF_")) return [error.message];
    throw error;
  });
  if (differing.length === 0) return "";
  return `; types of this unit are not those of ${object}: ${shownOf(differing)}`;
}

function shownOf(differing: readonly string[]): string {
  const rest = differing.length - shownTypes;
  return `${differing.slice(0, shownTypes).join("; ")}${rest > 0 ? `; and ${rest} more` : ""}`;
}

/** What is different in the types of an original unit; none where the kernel has no types to compare with. */
async function differingTypes(
  originalPath: string | undefined,
  object: string,
  types: Pick<KernelTypes, "of">,
  { folder, signal }: Pick<BuildContext, "folder" | "signal">,
): Promise<readonly string[]> {
  if (originalPath === undefined) return [];
  const target = await types.of(object);
  return target === undefined ? [] : compareWithTarget(originalPath, target, folder, signal);
}

/** The types of the target kernel's image and modules, each read once. */
export class KernelTypes {
  readonly #kernel: TargetKernel;
  readonly #external: ExternalModule | undefined;
  readonly #known = new Map<string, Promise<Btf | undefined>>();

  /** @param external see {@link TargetObjects}. */
  constructor(kernel: TargetKernel, external?: ExternalModule) {
    this.#kernel = kernel;
    this.#external = external;
  }

  /**
   * Types of `vmlinux` or of a module together with them; undefined when the kernel has none.
   * @throws KmendError `BTF_FORMAT`, `BTF_MISSING`, `MODULE_FILE_MISSING`.
   */
  of(object: string): Promise<Btf | undefined> {
    let types = this.#known.get(object);
    if (types === undefined) {
      types = object === "vmlinux" ? this.#ofImage() : this.#ofModule(object);
      this.#known.set(object, types);
    }
    return types;
  }

  async #ofImage(): Promise<Btf | undefined> {
    const { image, imagePath, configPath } = this.#kernel;
    if (image.btf !== undefined) return new Btf(image.btf, imagePath);
    const config = await readFile(configPath, "latin1");
    if (!/^CONFIG_DEBUG_INFO_BTF=y$/m.test(config)) return undefined;
    throw new KmendError({
      code: "BTF_MISSING",
      message: "the kernel image has no type information, though its configuration says that it has",
      where: `${imagePath}: there is no section .BTF`,
      why: "kmend compares a patch that may change data structures with the kernel's own types",
      hint: "give the kernel image as the kernel's build or package made it with --image; a stripped one does not work",
    });
  }

  async #ofModule(name: string): Promise<Btf | undefined> {
    const base = await this.of("vmlinux");
    if (base === undefined) return undefined;
    if (this.#external?.name === name) return withTypesOf(this.#external.file, name, base);
    const modules = await ShippedModules.open(this.#kernel.modulesDir);
    const shipped = modules.find(name);
    return shipped === undefined ? base : withTypesOf(await modules.readOnce(shipped, cacheRoot()), name, base);
  }
}

function withTypesOf(module: Uint8Array, name: string, base: Btf): Btf {
  const section = new ElfReader(module).section(".BTF");
  return section === undefined ? base : new Btf(section.data, `${name}.ko`, base);
}

/** One refusal for all units that see the same change of a type. */
function mergeUnits(findings: readonly LayoutFindings[]): Refusal[] {
  const groups = new Map<string, Refusal[]>();
  for (const { refusals, subjects } of findings) {
    for (const refusal of refusals) {
      const key = [refusal.code, subjects?.get(refusal) ?? `${refusal.what}\n${refusal.why}`].join("\n");
      groups.set(key, [...(groups.get(key) ?? []), refusal]);
    }
  }
  return [...groups.values()].map((group) => {
    const [first] = group as [Refusal];
    const others = group.length - 1;
    return others === 0 ? first : { ...first, where: `${first.where} and ${counted(others, "more unit")}` };
  });
}
