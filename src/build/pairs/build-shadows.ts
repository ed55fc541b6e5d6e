import { rmSync } from "node:fs";
import { join } from "node:path";
import type { SourceOverlay } from "../../change/change-set.ts";
import { createShadow, foldersOf } from "../../kernel/tree/shadow.ts";
import { exists } from "../../support/cache.ts";
import { removeFolders } from "../../support/run.ts";

const builds = ["original", "patched"] as const;

/** Which of the two builds. */
export type Build = (typeof builds)[number];

/** Removes the shadows of a build that are there. @param folder private folder of the build. */
export async function removeShadows(folder: string): Promise<void> {
  const paths = builds.map((build) => join(folder, build));
  const there = await Promise.all(paths.map((path) => exists(path)));
  await removeFolders(paths.filter((_, index) => there[index]));
}

/** The two shadows of the tree in which units are compiled without and with the patch. They can be made before it is known for sure which units these are. */
export class BuildShadows {
  readonly #tree: string;
  readonly #folder: string;
  readonly #files: Readonly<Record<Build, SourceOverlay>>;
  /** Folders in which each shadow can be written to. */
  readonly #made = new Map<Build, ReadonlySet<string>>();

  /**
   * @param folder private folder of the build.
   * @param files what differs from the tree in each build.
   */
  constructor(tree: string, folder: string, files: Readonly<Record<Build, SourceOverlay>>) {
    this.#tree = tree;
    this.#folder = folder;
    this.#files = files;
  }

  /** The shadow for objects at these paths relative to the tree; one that was made for other folders is made anew. */
  open(build: Build, objects: readonly string[]): string {
    const path = join(this.#folder, build);
    const folders = new Set(objects.flatMap((object) => foldersOf(object)));
    const made = this.#made.get(build);
    if (made !== undefined && [...folders].every((folder) => made.has(folder))) return path;
    if (made !== undefined) rmSync(path, { recursive: true, force: true });
    createShadow(this.#tree, path, this.#files[build], [...folders]);
    this.#made.set(build, folders);
    return path;
  }
}
