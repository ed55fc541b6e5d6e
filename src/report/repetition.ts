import { basename } from "node:path";
import type { BuildFacts } from "../build/build-facts.ts";
import { version } from "../support/version.ts";
import type { Repetition } from "./report-types.ts";

/** How to build the same module again. Files are named without their folders, so that the report is the same wherever it is made. */
export function repetitionOf({ session, result }: BuildFacts): Repetition {
  const { options, kernel, compiler, change } = session;
  const build = [
    ...["kmend", "build", ...change.patches.map(({ name }) => quoted(basename(name)))],
    ...kernelWords(session),
    ...(options.name === undefined ? [] : ["--name", quoted(options.name)]),
    ...(options.replace === false ? ["--no-replace"] : []),
    ...(options.adapt === true ? ["--adapt"] : []),
    ...(options.removable === true ? ["--removable"] : []),
    ...(options.allowLayout ?? []).flatMap((type) => ["--allow-layout", quoted(type)]),
    ...(options.skipCompilerCheck === true ? ["--skip-gcc-check"] : []),
  ].join(" ");
  const file = result.module === null ? undefined : basename(result.module.path);
  const checks =
    file === undefined
      ? []
      : [`kmend verify ${quoted(file)}`, `kmend try ${quoted(file)}`, `sha256sum ${quoted(file)}`];
  // What another command reads a change from is not known here.
  return {
    commands: options.change === undefined ? [build, ...checks] : checks,
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

function kernelWords({ options, kernel }: BuildFacts["session"]): string[] {
  if (options.source !== undefined) return ["--source", "TREE"];
  if (options.rpms !== undefined) return ["--sourcerpm", "FILE"];
  return ["--kernel", quoted(kernel.release)];
}

/** A word for a shell. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
