import { basename } from "node:path";
import type { BuildFacts } from "../build/build-facts.ts";
import { version } from "../support/version.ts";
import type { Repetition } from "./report-types.ts";

/** How a command asks for a build, where it is not `kmend build` with patch files. */
export interface Asking {
  /** The command with what it builds from, before the options of the build. */
  readonly words: (facts: BuildFacts) => readonly string[];
  /** The command is whole: no option of a build goes with it. */
  readonly isWhole?: boolean;
  /** Name of the file that is written, from that of the module; default the module. */
  readonly written?: (module: string) => string;
}

/** How to build the same module again. Files are named without their folders, so that the report is the same wherever it is made. */
export function repetitionOf(facts: BuildFacts, asking?: Asking): Repetition {
  const { session, result } = facts;
  const { kernel, compiler, change } = session;
  const fixes = (session.options.cves ?? []).flatMap((id) => ["--fixes", id]);
  const files = change.patches.map(({ name }) => basename(name));
  const start = asking?.words(facts) ?? ["kmend", "build", ...files, ...fixes];
  const build = [...start.map(quoted), ...(asking?.isWhole === true ? [] : buildWords(session))].join(" ");
  const file = result.module === null ? undefined : basename(result.module.path);
  const written = file === undefined ? undefined : (asking?.written?.(file) ?? file);
  const checks =
    written === undefined
      ? []
      : ["kmend verify", "kmend try", "sha256sum"].map((command) => `${command} ${quoted(written)}`);
  return {
    commands: [build, ...checks],
    versions: [
      { what: "kmend", version: version() },
      { what: "kernel", version: kernel.release },
      { what: "build id", version: kernel.buildId },
      { what: "compiler of the kernel", version: compiler.kernel },
      { what: "compiler used", version: compiler.here },
    ],
    digests: [
      ...change.patches.map(({ name, sha256 }) => ({ what: basename(name), sha256 })),
      ...(result.module === null || file === undefined ? [] : [{ what: file, sha256: result.module.sha256 }]),
    ],
  };
}

/** The kernel, and the options of a build. */
function buildWords(session: BuildFacts["session"]): string[] {
  const { options } = session;
  return [
    ...kernelWords(session),
    ...(options.name === undefined ? [] : ["--name", quoted(options.name)]),
    ...(options.replace === false ? ["--no-replace"] : []),
    ...(options.adapt === true ? ["--adapt"] : []),
    ...(options.removable === true ? ["--removable"] : []),
    ...(options.allowLayout ?? []).flatMap((type) => ["--allow-layout", quoted(type)]),
    ...(options.skipCompilerCheck === true ? ["--skip-gcc-check"] : []),
  ];
}

function kernelWords({ options, kernel }: BuildFacts["session"]): string[] {
  if (options.source !== undefined) return ["--source", "TREE"];
  if (options.rpms !== undefined) return ["--sourcerpm", "FILE"];
  return ["--kernel", quoted(kernel.release)];
}

/** A word for a shell. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
