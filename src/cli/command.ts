import type { ErrorDetails, ExitCode } from "../support/errors.ts";
import type { Progress } from "../support/progress.ts";
import type { Style } from "./terminal/style.ts";

/** One option of a command, as a row of the table from which parsing, help and manual pages come. */
export interface OptionDefinition {
  /** In commander's notation: `-o, --output <DIR>`; `--no-x` turns a default off. */
  readonly flags: string;
  readonly description: string;
  /** May be given several times; the values are collected. */
  readonly repeatable?: true;
  /** The value is a whole number of at least this. */
  readonly minimum?: number;
  /** An option without value that may be given several times, and is counted. */
  readonly counted?: true;
  /** Words that the value can be, for completion; the command itself looks at the value. */
  readonly choices?: readonly string[];
}

/**
 * What a shell offers for an operand: files whose names end in one of some ways, names of patch modules that are installed or loaded, identifiers of
 * applied updates.
 */
export type Offer =
  | { readonly files: readonly string[] }
  | { readonly names: readonly ("installed" | "loaded" | "updates")[] };

export interface ArgumentDefinition {
  /** `FILE`, `FILE...` for one or more, `[FILE...]` for any number. */
  readonly name: string;
  readonly description: string;
  /** For completion; without it any file. */
  readonly offers?: readonly Offer[];
}

export interface ExampleDefinition {
  readonly command: string;
  readonly description: string;
}

/** What may be typed for a command, or for one of the older programs. */
export interface CommandWords {
  readonly name: string;
  readonly description: string;
  readonly arguments: readonly ArgumentDefinition[];
  readonly options: readonly OptionDefinition[];
}

/** One command. Its `run` loads what it needs, so that help stays quick. */
export interface CommandDefinition extends CommandWords {
  readonly summary: string;
  readonly examples: readonly ExampleDefinition[];
  /** Exit codes that this command uses besides 0, 1, 2 and 130, with their meaning here. */
  readonly exitCodes: Readonly<Partial<Record<ExitCode, string>>>;
  run(context: CommandContext, operands: readonly string[], options: OptionValues): Promise<ExitCode>;
}

/** What a command may do to the outside. */
export interface CommandContext {
  /** Writes a line of the result to standard output. */
  print(line: string): void;
  /** Writes the result as one JSON object to standard output. */
  printJson(value: object): void;
  /** Shows a failure, or a refusal, on standard error. */
  printProblem(problem: Problem): void;
  /** Shows something that the author of a patch has to look at, on standard error; the same once. */
  printWarning(text: string): void;
  readonly json: boolean;
  /** How lines of the result may look. */
  readonly style: Style;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** The parts of an error that are shown. */
export interface Problem extends Pick<ErrorDetails, "code" | "message" | "where" | "why" | "hint"> {
  readonly kind: "error" | "refused";
}

/** Typed access to what the user gave; commander has checked the values already. */
export class OptionValues {
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values;
  }

  /** Everything, for a command that hands it on. */
  all(): Readonly<Record<string, unknown>> {
    return this.#values;
  }

  text(name: string): string | undefined {
    const value = this.#values[name];
    return typeof value === "string" ? value : undefined;
  }

  integer(name: string): number | undefined {
    const value = this.#values[name];
    return typeof value === "number" ? value : undefined;
  }

  /** For `--no-x`, `flag("x")` is true unless it was given. */
  flag(name: string): boolean {
    return this.#values[name] === true;
  }

  list(name: string): readonly string[] {
    const value = this.#values[name];
    return Array.isArray(value) ? value.map(String) : [];
  }
}
