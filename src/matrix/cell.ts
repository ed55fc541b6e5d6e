import { basename } from "node:path";
import { readPatchFile } from "../change/patch-files.ts";
import type { ArchiveChoice } from "../kernel/sources/distribution/choose.ts";
import { type Architecture, architectures } from "../package/package-name.ts";
import type { PackageOrder } from "../package/package-order.ts";
import type { PackageChoices, Severity } from "../package/package-plan.ts";
import { sourceDate } from "../package/source-date.ts";
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
export async function cellsOf(orders: readonly PackageOrder[], store: Store): Promise<readonly PackageCells[]> {
  const stored = new Map<string, StoredPatch>();
  for (const path of new Set(orders.flatMap(({ modules }) => modules.flatMap(({ patches }) => patches)))) {
    const { content } = await readPatchFile(path);
    stored.set(path, { name: basename(path), sha256: await putObject(store, content) });
  }
  const ids = new Set<string>();
  const packages: PackageCells[] = [];
  for (const { choices, modules, architecture } of orders) {
    const name = choices.name ?? modules[0]?.name ?? "package";
    let id = name;
    for (let number = 2; ids.has(id); number++) id = `${name}-${number}`;
    ids.add(id);
    const paths = modules.flatMap(({ patches }) => patches);
    const cells = modules.map(({ kernel = "", name: module, patches }) => ({
      id: `${id}/${kernel}`,
      kernel,
      module,
      patches: patches.map((path) => stored.get(path) as StoredPatch),
    }));
    packages.push({
      ...{ id, choices, cells },
      architecture: architecture ?? (architectures[62] as Architecture),
      epoch: await sourceDate(paths),
      priority: priorities[choices.severity ?? "Low"],
    });
  }
  return packages;
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
