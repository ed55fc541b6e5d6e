import { environmentVariable } from "../../support/environment.ts";
import type { Progress } from "../../support/progress.ts";
import { type ProgramMessage, programs } from "../../support/run.ts";
import { type StreamTraits, type Style, styleFor } from "./style.ts";
import { ownEscape, terminal } from "./terminal.ts";

/**
 * 0 says nothing but errors, 1 is the default, 2 tells each step within a phase and each program that is run, 3 adds what the programs said, and stack
 * traces to errors.
 */
export type Verbosity = 0 | 1 | 2 | 3;

/** Where progress is shown; standard error in the real program. */
export interface ProgressStream extends StreamTraits {
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

interface ActivePhase {
  readonly title: string;
  readonly started: number;
  status: string;
}

/** A running phase is announced in a log when it takes longer than this, in milliseconds. */
const announceAfter = 2000;
const frameMilliseconds = 100;
/** How many of the last lines that a program printed are shown. */
const linesOfProgram = 10;
const frames = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/** Shows phases as a task list that is redrawn in place on a terminal, and as plain lines elsewhere. */
export class Reporter implements Progress {
  readonly milliseconds: Record<string, number> = {};
  /** Texts of all notes so far. */
  readonly notes = new Set<string>();
  readonly #stream: ProgressStream;
  readonly #verbosity: Verbosity;
  readonly #style: Style;
  readonly #live: boolean;
  readonly #active = new Set<ActivePhase>();
  #timer: NodeJS.Timeout | undefined;
  #drawn = 0;
  #frame = 0;

  constructor(stream: ProgressStream, verbosity: Verbosity) {
    this.#stream = terminal(stream);
    this.#verbosity = verbosity;
    this.#style = styleFor(stream);
    this.#live = stream.isTTY === true && environmentVariable("TERM") !== "dumb";
    if (verbosity >= 2) programs.subscribe(this.#showProgram);
  }

  async phase<Result>(
    name: string,
    title: string,
    work: (status: (text: string) => void) => Promise<Result>,
  ): Promise<Result> {
    const phase: ActivePhase = { title, started: performance.now(), status: "" };
    this.#active.add(phase);
    const announcement = this.#live
      ? undefined
      : setTimeout(() => this.#say(`kmend: ${title} …`), announceAfter).unref();
    this.#draw();
    let done = false;
    try {
      const result = await work((text) => {
        phase.status = text;
        if (this.#verbosity >= 2) this.#say(this.#live ? this.#style("dim", `  ${text}`) : `kmend:   ${text}`);
      });
      done = true;
      return result;
    } finally {
      clearTimeout(announcement);
      this.#active.delete(phase);
      const elapsed = performance.now() - phase.started;
      this.milliseconds[name] = Math.round((this.milliseconds[name] ?? 0) + elapsed);
      this.#say(this.#finished(title, elapsed, done));
      this.#draw();
    }
  }

  note(text: string): void {
    this.#remark("note", text);
  }

  /** Something that the author of a patch has to look at. */
  warning(text: string): void {
    this.#remark("warning", text);
  }

  #remark(kind: "note" | "warning", text: string): void {
    if (this.notes.has(text)) return;
    this.notes.add(text);
    this.#say(`${this.#style("yellow", `${kind}:`)} ${text}`);
  }

  /** Clears the live list, so that other text can follow. */
  stop(): void {
    programs.unsubscribe(this.#showProgram);
    this.#active.clear();
    this.#draw();
  }

  readonly #showProgram = (message: unknown): void => {
    const { words, result } = message as ProgramMessage;
    if (result === undefined) this.#say(this.#style("dim", `+ ${words.map(quoted).join(" ")}`));
    else if (this.#verbosity >= 3) {
      const time = `${(result.milliseconds / 1000).toFixed(1)} s`;
      const said = result.all.trimEnd().split("\n").filter(Boolean).slice(-linesOfProgram);
      const lines = [
        `exit code ${result.exitCode} after ${time}`,
        ...said.map((line) => line.replaceAll(/\p{Cc}/gu, " ").slice(0, 200)),
      ];
      this.#say(this.#style("dim", lines.map((line) => `  ${line}`).join("\n")));
    }
  };

  #finished(title: string, elapsed: number, done: boolean): string {
    const time = `(${(elapsed / 1000).toFixed(1)} s)`;
    if (!this.#live) return `kmend: ${title}${done ? "" : ": failed"} ${time}`;
    return `${done ? this.#style("green", "✔") : this.#style("red", "✖")} ${title} ${this.#style("dim", time)}`;
  }

  /** Writes a line above the live list. */
  #say(line: string): void {
    if (this.#verbosity === 0) return;
    this.#erase();
    this.#stream.write(`${line}\n`);
    this.#draw();
  }

  #erase(): void {
    if (this.#drawn > 0) this.#stream.write(`${ownEscape}[${this.#drawn}A${ownEscape}[J`);
    this.#drawn = 0;
  }

  #draw(): void {
    if (!this.#live || this.#verbosity === 0) return;
    this.#erase();
    if (this.#active.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    this.#timer ??= setInterval(() => {
      this.#frame++;
      this.#draw();
    }, frameMilliseconds).unref();
    const spinner = frames[this.#frame % frames.length] ?? "";
    const width = (this.#stream.columns ?? 80) - 3;
    for (const { title, started, status } of this.#active) {
      const time = `(${((performance.now() - started) / 1000).toFixed(0)} s)`;
      const [first = "", ...below] = status.split("\n");
      const text = `${title}${first === "" ? "" : `: ${first}`} ${time}`;
      this.#stream.write(`${this.#style("cyan", spinner)} ${text.slice(0, width)}\n`);
      for (const line of below) this.#stream.write(`${line.slice(0, width + 2)}\n`);
      this.#drawn += 1 + below.length;
    }
  }
}

/** A word as a shell reads it, so that a line can be run again. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
