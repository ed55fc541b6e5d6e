import { channel } from "node:diagnostics_channel";
import { appendFile, rm } from "node:fs/promises";
import type { Options as ExecaOptions } from "execa";
import { ExitCode, KmendError } from "./errors.ts";

/** How to run one program. */
export interface RunOptions {
  readonly cwd?: string | undefined;
  /** Added to the environment of this process. `LC_ALL=C` is always set, since some messages are read. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Replaces the environment altogether when true. */
  readonly cleanEnv?: boolean | undefined;
  readonly input?: string | Uint8Array | undefined;
  /** Milliseconds; the whole process group is killed after it. */
  readonly timeout?: number | undefined;
  /** File that gets the command line and everything it prints. */
  readonly logFile?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Receives what the program prints, both streams, while it runs. */
  readonly onOutput?: ((piece: string) => void) | undefined;
  /** Keep the program out of this process's group, so that an interrupt from the terminal does not reach it. */
  readonly ownProcessGroup?: boolean | undefined;
  /** Return a failure instead of throwing it. */
  readonly allowFailure?: boolean | undefined;
}

/** What a program left behind. */
export interface RunResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Both streams, in the order they were written. */
  readonly all: string;
  /** Wall time in milliseconds. */
  readonly milliseconds: number;
}

/** What is told of a program on {@link programs}: once when it starts, and once with `result` when it has ended. */
export interface ProgramMessage {
  readonly words: readonly string[];
  readonly result?: RunResult;
}

/** Tells each program that is run, as {@link ProgramMessage}, for a person who wants to see what is done. */
export const programs = channel("kmend:programs");

/** Waits until this process starts a program. */
export function programStarted(): Promise<void> {
  return new Promise((resolve) => {
    const listen = (message: unknown): void => {
      if ((message as ProgramMessage).result !== undefined) return;
      programs.unsubscribe(listen);
      resolve();
    };
    programs.subscribe(listen);
  });
}

/** How many of a program's last lines an error repeats. */
const tailLines = 20;

/**
 * Runs a program to its end.
 * @throws KmendError `PROGRAM_MISSING` (exit 5) when it is not installed, `PROGRAM_FAILED` with its last lines and the log's path otherwise.
 */
export async function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const started = performance.now();
  const settings = {
    reject: false,
    all: true,
    stripFinalNewline: false,
    maxBuffer: 512 * 1024 * 1024,
    env: { ...options.env, LC_ALL: "C" },
    extendEnv: options.cleanEnv !== true,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.ownProcessGroup === true ? { detached: true } : {}),
    ...(options.timeout === undefined ? {} : { timeout: options.timeout }),
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
    ...(options.input === undefined ? { stdin: "ignore" } : { input: options.input }),
  } satisfies ExecaOptions;
  const words = [file, ...args];
  // Loaded with the first program: many commands run none, and start faster.
  const { execa } = await import("execa");
  const running = execa(file, [...args], settings);
  programs.publish({ words } satisfies ProgramMessage);
  const { onOutput } = options;
  if (onOutput !== undefined) running.all.on("data", (piece: Uint8Array | string) => onOutput(piece.toString()));
  const result = await running;
  const all = result.all ?? "";
  const outcome: RunResult = {
    exitCode: result.exitCode ?? -1,
    stdout: result.stdout ?? "",
    stderr: result.stderr ?? "",
    all,
    milliseconds: performance.now() - started,
  };
  programs.publish({ words, result: outcome } satisfies ProgramMessage);
  if (options.logFile !== undefined) {
    await appendFile(options.logFile, `$ ${words.join(" ")}\n${all}${all.endsWith("\n") || all === "" ? "" : "\n"}`);
  }
  if (!result.failed || options.allowFailure === true) return outcome;
  if (result.code === "ENOENT") {
    throw new KmendError({
      code: "PROGRAM_MISSING",
      message: `${file} is not installed`,
      hint: "kmend doctor shows the command that installs it",
      exitCode: ExitCode.environment,
      cause: result,
    });
  }
  throw new KmendError({
    code: "PROGRAM_FAILED",
    message: `${file} ${describeEnd(result)}`,
    where: options.cwd,
    why: all.trimEnd().split("\n").slice(-tailLines).join("\n"),
    hint: options.logFile === undefined ? undefined : `the full log is ${options.logFile}`,
    cause: result,
  });
}

interface Ended {
  readonly exitCode?: number | undefined;
  readonly signal?: string | undefined;
  readonly timedOut: boolean;
  readonly shortMessage?: string | undefined;
}

function describeEnd(result: Ended): string {
  if (result.timedOut) return "took too long and was stopped";
  if (result.signal !== undefined) return `was ended by ${result.signal}`;
  if (result.exitCode !== undefined) return `failed with exit code ${result.exitCode}`;
  return `failed: ${result.shortMessage ?? "unknown reason"}`;
}

/**
 * Removes folders with all that is in them: where they hold thousands of links, rm(1) takes a tenth of the time that Node takes. A compiler that is about to
 * end may write into it meanwhile, so it is tried again for a while.
 */
export async function removeFolders(folders: readonly string[]): Promise<void> {
  if (folders.length === 0) return;
  const { exitCode } = await run("rm", ["-rf", "--", ...folders], { allowFailure: true });
  if (exitCode === 0) return;
  for (const folder of folders) await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
}

/** Runs `worker` over `items`, at most `limit` at once; results keep the order of the items. The first error stops new work. */
export async function mapConcurrently<Item, Result>(
  items: readonly Item[],
  limit: number,
  worker: (item: Item, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results = new Array<Result>(items.length);
  let next = 0;
  let failed = false;
  const lane = async (): Promise<void> => {
    while (next < items.length && !failed) {
      const index = next++;
      try {
        results[index] = await worker(items[index] as Item, index);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: Math.min(limit, items.length) }, lane));
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  return results;
}
