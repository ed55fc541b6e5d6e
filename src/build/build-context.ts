import { join } from "node:path";
import type { SourceOverlay } from "../change/change-set.ts";
import type { UnitCache } from "../kernel/tree/compile.ts";
import type { PreparedTree } from "../kernel/tree/prepare.ts";
import type { KbuildQuestion } from "../kernel/tree/units.ts";
import type { Progress } from "../support/progress.ts";
import type { ForeseenQuestion } from "./pairs/ask-kbuild.ts";

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
