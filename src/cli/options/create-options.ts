import { environmentVariable } from "../../support/environment.ts";
import type { CreateOptions, UpdateChange } from "../../update/create-update.ts";
import type { OptionDefinition, OptionValues } from "../command.ts";
import { limitOptions, removableOption } from "../commands/build.ts";
import { usageError } from "./usage.ts";

/** Options of `kmend create` and `ksplice-create`. */
export const createOptions: readonly OptionDefinition[] = [
  { flags: "--patch <FILE>", description: "the change is this patch file" },
  {
    flags: "--diffext <EXT>",
    description: "the change is the difference between all files whose names end in EXT and the files without EXT",
  },
  { flags: "--git <COMMIT>", description: "the change is the output of git diff ksplice/pre COMMIT" },
  { flags: "--prebuild", description: "build only what later updates of this tree need" },
  { flags: "--series", description: "take the current state as the original: build on top of the last update" },
  { flags: "--build-modules", description: "also build complete new modules for the changed ones" },
  {
    flags: "-j, --jobs <N>",
    description: "number of concurrent compilers (default: $CONCURRENCY_LEVEL, else all cores)",
    minimum: 1,
  },
  {
    flags: "--patch-opt <OPTIONS>",
    description: "options for patch(1) instead of -p1 (repeatable)",
    repeatable: true,
  },
  { flags: "--id <ID>", description: "identifier of the update (default: 8 random letters and digits)" },
  { flags: "--description <TEXT>", description: "purpose of the update" },
  {
    flags: "--config <DIR>",
    description: "folder with .config and System.map of the kernel (default: KERNEL_SOURCE/ksplice)",
  },
  removableOption,
  ...limitOptions,
];

/**
 * What the options and the operand ask for.
 * @param program whose help is pointed at, when they are wrong.
 * @throws KmendError `USAGE` (exit 2)
 */
export function createRequest(
  program: string,
  source: string,
  options: OptionValues,
): Omit<CreateOptions, "progress" | "signal"> {
  const changes: UpdateChange[] = [];
  const patch = options.text("patch");
  const extension = options.text("diffext");
  const commit = options.text("git");
  if (patch !== undefined) changes.push({ kind: "patch", file: patch, options: options.list("patchOpt") });
  if (extension !== undefined) changes.push({ kind: "diffext", extension });
  if (commit !== undefined) changes.push({ kind: "git", commit });
  if (options.flag("prebuild")) changes.push({ kind: "prebuild" });
  const [change] = changes;
  if (change === undefined || changes.length > 1) {
    throw usageError(program, "exactly one of --patch, --diffext, --git and --prebuild is needed");
  }
  return {
    source,
    change,
    series: options.flag("series"),
    id: options.text("id"),
    description: options.text("description"),
    config: options.text("config"),
    jobs: options.integer("jobs") ?? concurrencyLevel(program, environmentVariable("CONCURRENCY_LEVEL")),
    buildModules: options.flag("buildModules"),
    maxUnits: options.integer("maxUnits"),
    allowLayout: options.list("allowLayout"),
    removable: options.flag("removable"),
    debug: (options.integer("verbose") ?? 0) > 0,
  };
}

/** The options that decide what an update is, as words: files and folders by their names alone. */
export function createWords(options: OptionValues): string[] {
  const text = (name: string): string[] => {
    const value = options.text(name);
    return value === undefined ? [] : [`--${name}=${value}`];
  };
  const base = (name: string): string[] => text(name).map((word) => word.replace(/=.*\//, "="));
  return [
    ...[...base("patch"), ...text("diffext"), ...text("git"), ...text("id"), ...base("config")],
    ...options.list("patchOpt").map((words) => `--patch-opt=${words}`),
    ...(options.flag("series") ? ["--series"] : []),
    ...(options.flag("buildModules") ? ["--build-modules"] : []),
    ...(options.flag("removable") ? ["--removable"] : []),
    ...options.list("allowLayout").map((type) => `--allow-layout=${type}`),
  ];
}

/** @throws KmendError `USAGE` for something else than a number of jobs. */
function concurrencyLevel(program: string, value: string | undefined): number | undefined {
  if (value === undefined || value === "") return undefined;
  if (/^[1-9]\d{0,3}$/.test(value)) return Number(value);
  throw usageError(program, `CONCURRENCY_LEVEL is "${value}", and has to be a number of jobs`);
}
