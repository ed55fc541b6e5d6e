import type { BuildOptions, BuildResult } from "./build-types.ts";
import type { Examination, Session } from "./examination.ts";

/** All that a build found out. */
export interface BuildFacts {
  readonly session: Session;
  readonly examination: Examination;
  readonly result: BuildResult;
}

/** What a build is asked to do, and who is told what it found out. */
export interface BuildRequest extends BuildOptions {
  /** Called before the files of the build are gone. */
  readonly onFacts?: ((facts: BuildFacts) => Promise<void>) | undefined;
}
