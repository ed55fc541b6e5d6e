/** What changes the system, step by step. Each is told in the words of a shell; with a dry run it is only told. */
export class Steps {
  readonly texts: string[] = [];
  readonly dryRun: boolean;

  constructor(dryRun: boolean) {
    this.dryRun = dryRun;
  }

  /** Tells a step and takes it. */
  async take(text: string, work: () => Promise<void>): Promise<void> {
    this.texts.push(text);
    if (!this.dryRun) await work();
  }

  /** Tells a step that has no work of its own, such as a wait. */
  tell(text: string): void {
    this.texts.push(text);
  }
}
