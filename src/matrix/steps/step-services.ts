import type { ModuleSigner } from "../../package/sign-module.ts";
import type { KernelFacts } from "../step.ts";
import type { Store } from "../store/store.ts";

/** What a step is carried out with on a machine. */
export interface StepServices {
  readonly store: Store;
  /** Words that start kmend. */
  readonly program: readonly string[];
  /** Compilers at once in one build. */
  readonly jobs: number;
  /** Kernels that were looked at here, by release. */
  readonly facts: Map<string, Promise<KernelFacts>>;
  readonly signer?: ModuleSigner | undefined;
  readonly signal?: AbortSignal | undefined;
}
