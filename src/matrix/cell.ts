import { basename } from "node:path";
import { readPatchFile } from "../change/patch-files.ts";
import { compareIds } from "../cve/cve-data.ts";
import type { ArchiveChoice } from "../kernel/sources/distribution/choose.ts";
import { type Architecture, architectures } from "../package/package-name.ts";
import type { ModuleOrder, PackageOrder } from "../package/package-order.ts";
import type { PackageChoices, Severity } from "../package/package-plan.ts";
import { sourceDate } from "../package/source-date.ts";
import type { Refusal } from "../refusals/refusals.ts";
import type { FoundPatch, ManifestFixes } from "./manifest-fixes.ts";
import type { StoredPatch } from "./step.ts";
import { putObject } from "./store/records.ts";
import type { Store } from "./store/store.ts";

/** One module: the patches of a package for one kernel. */
export interface Cell {
  /** Package and kernel, with `/` between. */
  readonly id: string;
  readonly kernel: string;
  /** Name of the module. */
  readonly module: string;
  /** In the order in which they are applied. */
  readonly patches: readonly StoredPatch[];
  /** Vulnerabilities that the module fixes, in order. */
  readonly cves: readonly string[];
  /** What is known without building it: why it has no module. */
  readonly known?: { readonly outcome: "unchanged" | "refused"; readonly refusals: readonly Refusal[] } | undefined;
}

/** One package, and the cells that it is made of. */
export interface PackageCells {
  readonly id: string;
  readonly choices: PackageChoices;
  readonly architecture: Architecture;
  readonly cells: readonly Cell[];
  /** Seconds since 1970 that stand for the time of the build. */
  readonly epoch: number;
  /** Which cells come first; 1 before 4. */
  readonly priority: number;
}

const priorities: Readonly<Record<Severity, number>> = { Critical: 1, Important: 2, Moderate: 3, Low: 4 };

/**
 * The cells of packages. Their patches are read, and put into the store, so that whoever builds a cell gets the same ones.
 * @throws KmendError for patches that cannot be read.
 */
export async function cellsOf(
  orders: readonly PackageOrder[],
  store: Store,
  fixes: Pick<ManifestFixes, "resolve">,
): Promise<readonly PackageCells[]> {
  const stored = new Map<string, Promise<StoredPatch>>();
  const patchAt = (path: string): Promise<StoredPatch> => {
    const known = stored.get(path) ?? storedPatch(path, store);
    stored.set(path, known);
    return known;
  };
  const ids = new Set<string>();
  const packages: PackageCells[] = [];
  for (const { choices, modules, architecture } of orders) {
    const name = choices.name ?? modules[0]?.name ?? "package";
    let id = name;
    for (let number = 2; ids.has(id); number++) id = `${name}-${number}`;
    ids.add(id);
    const cells: Cell[] = [];
    const paths: string[] = [];
    for (const order of modules) {
      const { kernel = "", name: module } = order;
      const { found, known } = await patchesOf(order, fixes);
      const patches: StoredPatch[] = [];
      for (const { path, cves } of found) {
        const patch = await patchAt(path);
        // One commit may fix several vulnerabilities.
        const same = patches.findIndex(({ sha256 }) => sha256 === patch.sha256);
        const first = patches[same] ?? patch;
        const all = [...(first.cves ?? []), ...cves];
        patches.splice(same < 0 ? patches.length : same, 1, all.length === 0 ? first : { ...first, cves: all });
      }
      paths.push(...found.map(({ path }) => path));
      const cves = new Set([...(choices.cves ?? []), ...patches.flatMap((patch) => patch.cves ?? [])]);
      cells.push({ id: `${id}/${kernel}`, kernel, module, patches, cves: [...cves].sort(compareIds), known });
    }
    packages.push({
      ...{ id, choices, cells },
      architecture: architecture ?? (architectures[62] as Architecture),
      epoch: await sourceDate(paths),
      priority: priorities[choices.severity ?? "Low"],
    });
  }
  return packages;
}

async function storedPatch(path: string, store: Store): Promise<StoredPatch> {
  const { content } = await readPatchFile(path);
  return { name: basename(path), sha256: await putObject(store, content) };
}

/**
 * Files of the patches of a module, those of vulnerabilities found. One whose fix is refused refuses the module, since it would be half of what was asked for; one that does
 * not concern the kernel is left out, and a module of which nothing is left changes nothing.
 */
async function patchesOf(
  { kernel = "", patches, fixes: wanted }: ModuleOrder,
  fixes: Pick<ManifestFixes, "resolve">,
): Promise<{ readonly found: readonly FoundPatch[]; readonly known?: Cell["known"] }> {
  const found: FoundPatch[] = [];
  const told = { refused: [] as Refusal[], unchanged: [] as Refusal[] };
  for (const patch of patches) {
    const fix = wanted?.get(patch);
    const answer = fix === undefined ? undefined : await fixes.resolve(fix, kernel);
    if (answer === undefined) found.push({ path: patch, cves: [] });
    else if (answer.outcome === "patches") found.push(...answer.patches);
    else told[answer.outcome].push(answer.refusal);
  }
  const { refused, unchanged } = told;
  if (refused.length > 0) return { found: [], known: { outcome: "refused", refusals: refused } };
  if (found.length === 0) return { found, known: { outcome: "unchanged", refusals: unchanged } };
  return { found };
}

/** What all cells of a run have in common. */
export interface CellSettings {
  readonly archive: ArchiveChoice | null;
  /** Options of `kmend build`. */
  readonly words: readonly string[];
  /** Words that a worker has to be able to do, besides what a step needs by itself. */
  readonly needs: readonly string[];
  readonly report: boolean;
  /** Build each cell twice, on two workers, and compare. */
  readonly twice: boolean;
}
