import type { ExportedSymbols, SymversEntry } from "../../kernel/modules/symvers.ts";
import { type ErrorDetails, ExitCode, KmendError } from "../../support/errors.ts";

/** What a build asks its tree, its compilers and Kbuild: all that a repetition elsewhere cannot find out again. */
export interface Questions {
  /**
   * @param name unique in a build.
   * @param find finds the answer out; it can be written as JSON.
   */
  ask<Answer>(name: string, find: () => Promise<Answer>): Promise<Answer>;
  /** Is told of the objects of the running kernel that a build may look into. */
  watch(objects: OpenedObjects): void;
}

/** Objects of the running kernel: which of them were looked into. */
export interface OpenedObjects {
  /** `vmlinux` and names of modules. */
  opened(): readonly string[];
}

/** The answer to a question, or the error that came in its place. */
export type Answer = { readonly value: unknown } | { readonly error: ErrorDetails };

/** Asks, and keeps nothing. */
export const askOnly: Questions = { ask: (_name, find) => find(), watch: () => {} };

/** Asks, and keeps the answers. */
export class RecordedQuestions implements Questions {
  readonly answers = new Map<string, Answer>();
  readonly #watched: OpenedObjects[] = [];
  readonly #symbols = new Map<string, SymversEntry>();

  async ask<Result>(name: string, find: () => Promise<Result>): Promise<Result> {
    try {
      const value = await find();
      this.answers.set(name, { value });
      return value;
    } catch (error) {
      if (error instanceof KmendError) this.answers.set(name, { error: detailsOf(error) });
      throw error;
    }
  }

  watch(objects: OpenedObjects): void {
    this.#watched.push(objects);
  }

  /** All objects of the kernel that were looked into. */
  objects(): string[] {
    return this.#watched.flatMap((objects) => objects.opened());
  }

  /** The same symbols; those that are asked for are kept. */
  symbols(exported: ExportedSymbols): ExportedSymbols {
    return {
      get: (name) => {
        const entry = exported.get(name);
        if (entry !== undefined) this.#symbols.set(name, entry);
        return entry;
      },
    };
  }

  /** What was asked of {@link symbols}, as a Module.symvers file (Documentation/kbuild/modules.rst, "Module versioning"). */
  symversText(): string {
    return [...this.#symbols.values()]
      .map(({ name, crc, owner, exportType, namespace }) =>
        [`0x${crc.toString(16).padStart(8, "0")}`, name, owner, exportType, namespace].join("\t"),
      )
      .map((line) => `${line}\n`)
      .join("");
  }
}

/** Gives answers of before. */
export class AnsweredQuestions implements Questions {
  readonly #answers: ReadonlyMap<string, Answer>;

  constructor(answers: ReadonlyMap<string, Answer>) {
    this.#answers = answers;
  }

  /** @throws KmendError the error that came in place of the answer, or `REPRO_INCOMPLETE` for a question that was not asked then. */
  async ask<Result>(name: string): Promise<Result> {
    const answer = this.#answers.get(name);
    if (answer === undefined) throw incomplete(`the answer to the question "${name}"`);
    if ("error" in answer) throw new KmendError(answer.error);
    return answer.value as Result;
  }

  watch(): void {}
}

/** The error for something that a repetition needs and the folder has not. */
export function incomplete(what: string): KmendError {
  return new KmendError({
    code: "REPRO_INCOMPLETE",
    message: `the folder lacks what this version of kmend needs: ${what}`,
    why: "it holds what the first run read, and another version may read more",
    hint: "repeat it with the version of kmend that wrote the folder, or build the patch again with --save-repro",
    exitCode: ExitCode.environment,
  });
}

/** The parts of an error that can be written down. */
export function detailsOf({ code, message, where, why, hint, exitCode }: KmendError): ErrorDetails {
  return { code, message, where, why, hint, exitCode };
}
