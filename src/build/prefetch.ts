/** Something that a build needs later, and that can be begun before. */
export interface Early<Result> {
  /** Begins it, if nobody has. Its error comes out where the result is asked for. */
  begin(): void;
  /** The result: begins it, if nobody has. */
  result(): Promise<Result>;
}

/**
 * All that one build begins before it is asked for: while compilers run, or another program answers. What is begun here ends here, see {@link stop}; nothing of it
 * outlives the build's folder.
 */
export class Prefetch {
  readonly #works = new Set<Work<unknown>>();

  /**
   * Registers something, and begins nothing yet.
   * @param make gets a signal that ends it when the build has ended without asking for it.
   */
  of<Result>(make: (signal: AbortSignal) => Promise<Result>): Early<Result> {
    // What somebody got is not kept here: it may be large.
    const work = new Work(make, () => this.#works.delete(work));
    this.#works.add(work);
    return work;
  }

  /** Ends what was begun and is not needed any more, and waits until nothing of it runs. */
  async stop(): Promise<void> {
    for (const work of this.#works) work.drop();
    await Promise.all([...this.#works].map((work) => work.ended()));
  }
}

/** A signal that ends work for either reason. */
export function anyOf(dropped: AbortSignal, signal: AbortSignal | undefined): AbortSignal {
  return signal === undefined ? dropped : AbortSignal.any([dropped, signal]);
}

class Work<Result> implements Early<Result> {
  readonly #make: (signal: AbortSignal) => Promise<Result>;
  readonly #given: () => void;
  readonly #dropped = new AbortController();
  #outcome: Promise<PromiseSettledResult<Result>> | undefined;
  #isAsked = false;

  /** @param given called when the result has been given to somebody. */
  constructor(make: (signal: AbortSignal) => Promise<Result>, given: () => void) {
    this.#make = make;
    this.#given = given;
  }

  begin(): void {
    // As an outcome an early error waits for whoever asks.
    this.#outcome ??= Promise.allSettled([this.#make(this.#dropped.signal)]).then(([outcome]) => outcome);
  }

  async result(): Promise<Result> {
    this.#isAsked = true;
    this.begin();
    const outcome = (await this.#outcome) as PromiseSettledResult<Result>;
    this.#given();
    if (outcome.status === "rejected") throw outcome.reason;
    return outcome.value;
  }

  drop(): void {
    if (!this.#isAsked) this.#dropped.abort();
  }

  async ended(): Promise<void> {
    await this.#outcome;
  }
}
