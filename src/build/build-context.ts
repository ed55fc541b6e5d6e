import { join } from "node:path";
import type { SourceOverlay } from "../change/change-set.ts";
import type { UnitCache } from "../kernel/tree/compile.ts";
import type { PreparedTree } from "../kernel/tree/prepare.ts";
import type { UnitCommand } from "../kernel/tree/unit-command.ts";
import type { KbuildQuestion, Membership } from "../kernel/tree/units.ts";
import type { Progress } from "../support/progress.ts";
import type { Early, Prefetch } from "./prefetch.ts";

/** Where and how units are compiled. */
export interface BuildContext {
  readonly tree: PreparedTree;
  readonly cache: UnitCache;
  /** Files of updates that are in force: part of both builds. */
  readonly earlier: SourceOverlay;
  /** Private folder of this build. */
  readonly folder: string;
  /** Folder of the cache for what is known of the tree. */
  readonly kernelFolder: string;
  /** Folder of the cache for what this compiler made of it. */
  readonly toolchainFolder: string;
  /** How many units a changed header may touch. */
  readonly maxUnits: number;
  readonly jobs: number;
  readonly logFile: string;
  readonly progress: Progress;
  readonly signal: AbortSignal | undefined;
  /** What is begun early, for the whole build. */
  readonly prefetch: Prefetch;
  /** What Kbuild is being asked since before the patch was applied. */
  readonly foreseen?: ForeseenQuestion | undefined;
}

/** For questions about the prepared tree. */
export function kbuildOf({ tree, folder, toolchainFolder }: BuildContext): KbuildQuestion {
  return {
    environment: tree.environment,
    at: tree.path,
    scratch: folder,
    kept: join(toolchainFolder, "lists"),
  };
}

/** What Kbuild says of source files that were not compiled before. */
export interface KbuildAnswer {
  /** By source path. */
  readonly membership: ReadonlyMap<string, Membership>;
  /** By object as Kbuild names it; not of all. */
  readonly commands: ReadonlyMap<string, UnitCommand>;
}

/** A question that was put to Kbuild before the patch was applied. */
export interface ForeseenQuestion {
  /** Source paths, sorted. */
  readonly sources: readonly string[];
  readonly answer: Early<KbuildAnswer>;
}
