import { updateRepository } from "../package/repository/repository.ts";
import type { RepositoryRequest } from "../package/repository/repository-format.ts";
import { problemOf, type StepProblem } from "./engine/engine.ts";

/** Where packages are published. */
export type PublishRequest = Omit<RepositoryRequest, "packages">;

/** Publishes packages as they are finished: those that come while the index is written go into the next one. The same package again changes nothing. */
export class Publisher {
  readonly #request: PublishRequest;
  #waiting: { readonly path: string; readonly tell: (problem: StepProblem | undefined) => void }[] = [];
  #working: Promise<void> | undefined;

  constructor(request: PublishRequest) {
    this.#request = request;
  }

  /** @returns why it could not be published, or undefined. */
  publish(path: string): Promise<StepProblem | undefined> {
    const told = new Promise<StepProblem | undefined>((tell) => this.#waiting.push({ path, tell }));
    this.#working ??= this.#work();
    return told;
  }

  /** Waits until everything is published. */
  async finished(): Promise<void> {
    await this.#working;
  }

  async #work(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      const problem = await this.#update(batch.map(({ path }) => path));
      if (problem === undefined || batch.length === 1) for (const { tell } of batch) tell(problem);
      // One package that differs from a published one must not hold the others.
      else for (const { path, tell } of batch) tell(await this.#update([path]));
    }
    this.#working = undefined;
  }

  async #update(packages: readonly string[]): Promise<StepProblem | undefined> {
    const { signal } = this.#request;
    try {
      await updateRepository({ ...this.#request, packages, signal });
      return undefined;
    } catch (error) {
      signal?.throwIfAborted();
      return problemOf(error);
    }
  }
}
