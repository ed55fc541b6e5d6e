import type { HostRefusal } from "../kernel/host-refusals.ts";
import type { PendingTask } from "../kernel/tasks.ts";

/** What became of one module. */
export interface LoadedModule {
  readonly name: string;
  readonly file: string;
  readonly outcome: "loaded" | "already" | "planned" | "refused" | "stalled" | "failed";
  /** From the load to the end of the transition; null when there was none, or it never ended. */
  readonly milliseconds: number | null;
  /** Patch modules that this one put out of force, and that were unloaded. */
  readonly replaced: readonly string[];
  readonly refusals: readonly HostRefusal[];
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly why: string;
    readonly hint: string;
  } | null;
  /** Tasks that held the transition up. */
  readonly stalledTasks: readonly PendingTask[];
  readonly notes: readonly string[];
}
