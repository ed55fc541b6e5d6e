/**
 * What a running command says about its progress. The library reports phases; `src/cli` decides how they look.
 */
export interface Progress {
  /** Runs one phase; its wall time in milliseconds is kept under `name`. */
  phase<Result>(
    name: string,
    title: string,
    work: (status: (text: string) => void) => Promise<Result>,
  ): Promise<Result>;
  /** A remark for the user that is not an error, for example that a patch applied with fuzz. */
  note(text: string): void;
  /** Milliseconds by phase, in the order in which the phases began. */
  readonly milliseconds: Readonly<Record<string, number>>;
}

/** A {@link Progress} that keeps times and tells nobody; the default of all library calls. */
export class SilentProgress implements Progress {
  readonly milliseconds: Record<string, number> = {};
  readonly notes: string[] = [];

  async phase<Result>(
    name: string,
    _title: string,
    work: (status: (text: string) => void) => Promise<Result>,
  ): Promise<Result> {
    const started = performance.now();
    try {
      return await work(() => {});
    } finally {
      this.milliseconds[name] = Math.round((this.milliseconds[name] ?? 0) + performance.now() - started);
    }
  }

  note(text: string): void {
    this.notes.push(text);
  }
}
