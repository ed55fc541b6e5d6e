import { mkdirSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { SourceOverlay } from "../change/change-set.ts";
import { plainEnvironment } from "../kernel/tree/kbuild.ts";
import { createShadow } from "../kernel/tree/shadow.ts";
import { syntaxCommand, type UnitCommand } from "../kernel/tree/unit-command.ts";
import { KmendError } from "../support/errors.ts";
import { run } from "../support/run.ts";
import { type Diagnostic, diagnosticFlags, readDiagnostics } from "./diagnostics.ts";
import type { Oracle, TextOverlay } from "./oracle.ts";

/** Where units are checked. */
export interface OracleOptions {
  /** The prepared tree, which is only read. */
  readonly tree: string;
  /** Private folder for shadows of it. */
  readonly folder: string;
  readonly commands: readonly UnitCommand[];
  /** Files that all checks have in place of the tree's, beneath what a question has. */
  readonly base: SourceOverlay;
  readonly jobs: number;
  readonly signal?: AbortSignal | undefined;
}

/** Asks the kernel's compiler with the commands that Kbuild recorded. */
export class UnitOracle implements Oracle {
  readonly units: readonly string[];
  readonly jobs: number;
  readonly #options: OracleOptions;
  readonly #commands: ReadonlyMap<string, UnitCommand>;
  readonly #shadows = new Map<TextOverlay, string>();

  constructor(options: OracleOptions) {
    this.#options = options;
    this.#commands = new Map(options.commands.map((command) => [command.source, command]));
    this.units = [...this.#commands.keys()];
    this.jobs = options.jobs;
  }

  /** @throws KmendError `COMMAND_FORM` for a unit whose command is not one of Kbuild's usual ones. */
  async diagnose(unit: string, files: TextOverlay, probe?: string): Promise<Diagnostic[]> {
    const shadow = this.#shadow(files);
    const command = this.#commands.get(unit);
    const flags = [...diagnosticFlags, "-Wcast-qual"];
    if (probe !== undefined) {
      const header = `${shadow}.${unit.replaceAll("/", "__")}.h`;
      writeFileSync(header, probe);
      flags.push("-include", `'${header}'`);
    }
    const text = command === undefined ? undefined : syntaxCommand(command, flags);
    if (text === undefined || command?.needsKbuild === true) {
      throw new KmendError({
        code: "COMMAND_FORM",
        message: `${unit} cannot be checked on its own`,
        where: unit,
        why: "Kbuild makes other files before it compiles it, or compiles it in a way of its own",
        hint: "write the patch for this unit with a shadow variable by hand",
      });
    }
    const { signal } = this.#options;
    const env = plainEnvironment();
    const result = await run("sh", ["-c", text], { cwd: shadow, env, cleanEnv: true, signal, allowFailure: true });
    signal?.throwIfAborted();
    const found = readDiagnostics(result.stderr);
    if (result.exitCode === 0 || found.some(({ kind }) => kind === "error")) return found;
    throw new KmendError({
      code: "COMPILE_FAILED",
      message: `${unit} cannot be checked`,
      where: unit,
      why: result.all.trim(),
    });
  }

  async read(path: string): Promise<string | undefined> {
    const { base, tree } = this.#options;
    const known = base.get(path);
    if (known === null) return undefined;
    if (known !== undefined) return Buffer.from(known).toString("latin1");
    return readFile(join(tree, path), "latin1").catch(() => undefined);
  }

  #shadow(files: TextOverlay): string {
    const { tree, folder, base } = this.#options;
    let path = this.#shadows.get(files);
    if (path === undefined) {
      mkdirSync(folder, { recursive: true });
      path = join(folder, `${this.#shadows.size}`);
      const own = [...files].map(([name, text]) => [name, text === null ? null : Buffer.from(text, "latin1")] as const);
      createShadow(tree, path, new Map([...base, ...own]), []);
      this.#shadows.set(files, path);
    }
    return path;
  }
}
