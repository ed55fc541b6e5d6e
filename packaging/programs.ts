import type { CommandWords, ExampleDefinition, OptionDefinition } from "../src/cli/command.ts";
import { commands, commonOptions, exitCodeMeanings } from "../src/cli/command-table.ts";
import { kpatchCommands } from "../src/cli/compat/kpatch.ts";
import { kpatchBuildArgument, kpatchBuildOptions } from "../src/cli/compat/kpatch-build.ts";
import { packageBuilderArgument, packageBuilderOptions } from "../src/cli/compat/kpatch-package-builder.ts";
import { kspliceApply } from "../src/cli/compat/ksplice-apply.ts";
import { kspliceCreate } from "../src/cli/compat/ksplice-create.ts";
import { KspliceExit, type KspliceProgram, kspliceOptions } from "../src/cli/compat/ksplice-program.ts";
import { kspliceUndo } from "../src/cli/compat/ksplice-undo.ts";
import { kspliceView } from "../src/cli/compat/ksplice-view.ts";

/** A program, or a command of one, as manual pages and completion show it. Made from the tables that its command line is parsed with. */
export interface Program extends CommandWords {
  readonly summary: string;
  readonly commands: readonly Program[];
  readonly examples: readonly ExampleDefinition[];
  readonly exitCodes: Readonly<Record<string, string | undefined>>;
}

const blank = { arguments: [], options: [], commands: [], examples: [] } as const;
const help: OptionDefinition = { flags: "-h, --help", description: "show this help" };

/** kmend with all its commands. */
export const kmendProgram: Program = {
  name: "kmend",
  summary: "live patching for Linux",
  description:
    "kmend changes a Linux kernel while it runs. From a source patch it makes a patch module that the kernel's own livepatch core loads, proves that it fits that kernel, tries it in a virtual machine, packages it, and loads, lists and removes it on a host.",
  arguments: [],
  options: [help, { flags: "-V, --version", description: "print the version" }],
  commands: commands.map((command) => ({
    ...command,
    options: [...command.options, ...commonOptions, help],
    commands: [],
    exitCodes: { 0: exitCodeMeanings[0], ...command.exitCodes },
  })),
  examples: [
    { command: "kmend try --kernel newest fix.patch", description: "build a patch and try it in a virtual machine" },
    { command: "kmend load livepatch-fix.ko", description: "load the module" },
    { command: "kmend list", description: "see what is loaded and installed" },
  ],
  exitCodes: exitCodeMeanings,
};

const kspliceExitCodes = {
  [KspliceExit.done]: "done",
  [KspliceExit.usage]: "wrong usage",
  [KspliceExit.unchanged]: "nothing is changed",
  [KspliceExit.failure]: "failure",
};

function ksplice(program: KspliceProgram, summary: string): Program {
  const options = [
    ...program.options,
    ...kspliceOptions,
    { flags: "--api-version", description: "show the version of this interface" },
    { flags: "--version", description: "show the version" },
    { flags: "-?, --help", description: "show this help" },
  ];
  const { name, description, argument } = program;
  return {
    ...{ ...blank, name, summary, options, exitCodes: kspliceExitCodes },
    description: `${description} This is kmend under the name of an older program, with its options and exit codes.`,
    arguments: argument === undefined ? [] : [argument],
  };
}

/** The older tools by whose names kmend can be called. */
export const compatiblePrograms: readonly Program[] = [
  {
    ...blank,
    name: "kpatch",
    summary: "manage kernel live patches",
    description:
      "Loads, unloads, installs and lists patch modules. This is kmend with the commands and exit codes of the kpatch utility; kmend itself tells more.",
    commands: kpatchCommands.map(({ name, description, options, arguments: words }) => ({
      ...blank,
      name,
      summary: description,
      description: `${description[0]?.toUpperCase()}${description.slice(1)}.`,
      arguments: words,
      options,
      exitCodes: {},
    })),
    exitCodes: { 0: "done", 1: "failure", 130: "interrupted" },
  },
  {
    ...blank,
    name: "kpatch-build",
    summary: "make a kernel live patch module from source patches",
    description:
      "Makes a patch module. This is kmend with the options and exit codes of kpatch-build; it compiles what the patches touch and no kernel.",
    arguments: [kpatchBuildArgument],
    options: [...kpatchBuildOptions, { flags: "--version", description: "show the version" }, help],
    exitCodes: { 0: "done", 1: "failure", 130: "interrupted" },
  },
  {
    ...blank,
    name: "kpatch-package-builder",
    summary: "make RPM packages, or specs of them, that hold kernel live patches",
    description:
      "Writes the spec of a package with a patch module, or builds the RPM. This is kmend with the options of kpatch-package-builder.",
    arguments: [packageBuilderArgument],
    options: [...packageBuilderOptions, { flags: "-v, --version", description: "print the version" }, help],
    examples: [{ command: "kpatch-package-builder -b fix.patch", description: "kpatch-module-fix-1-1.x86_64.rpm" }],
    exitCodes: {
      0: "done",
      1: "failure",
      2: "wrong usage",
      4: "the change cannot be live patched",
      130: "interrupted",
    },
  },
  ksplice(kspliceCreate, "make an update of the running kernel"),
  ksplice(kspliceApply, "apply an update to the running kernel"),
  ksplice(kspliceUndo, "revert an update of the running kernel"),
  ksplice(kspliceView, "list the applied updates, or show one"),
];

/** An option's flags as they are typed, and what stands for its value. */
export interface Flags {
  readonly short: string | undefined;
  readonly long: string;
  /** `FILE` of `--output <FILE>`; undefined when it takes no value. */
  readonly value: string | undefined;
}

/** Reads commander's notation. Every option has a long name. */
export function flagsOf({ flags }: OptionDefinition): Flags {
  const found = /^(?:(-[^-]), )?(--[\w-]+)(?: <([^>]+)>)?$/.exec(flags);
  if (found?.[2] === undefined) throw new Error(`an option is written as ${flags}`);
  return { short: found[1], long: found[2], value: found[3] };
}
