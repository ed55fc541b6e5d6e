import { readState } from "./host.ts";

/** A function that ftrace is on, as a line of `enabled_functions` tells (ftrace_show of kernel/trace/ftrace.c). */
export interface TracedFunction {
  readonly name: string;
  /** The module that it is in; `vmlinux` for the kernel itself. */
  readonly object: string;
  /** A user that may change where execution goes on: a live patch, or a tool that injects errors. */
  readonly changesAddress: boolean;
  /** A trampoline that is called directly: a BPF program. */
  readonly direct: boolean;
  readonly line: string;
}

/** Places of the list; tracefs has its own mount point since 4.1, and debugfs shows it too. */
const places = ["/sys/kernel/tracing/enabled_functions", "/sys/kernel/debug/tracing/enabled_functions"];

/** All functions that ftrace is on; undefined when the list cannot be read. */
export async function readTracedFunctions(root: string): Promise<readonly TracedFunction[] | undefined> {
  for (const place of places) {
    const text = await readState(root, place);
    if (text !== undefined) return text.split("\n").flatMap(parseTracedFunction);
  }
  return undefined;
}

/** `foo [ext4] (2) R I D	tramp: …`: name, module, number of users, flags in columns of their own. */
function parseTracedFunction(line: string): readonly TracedFunction[] {
  const match = /^(\S+)(?: \[(\S+)\])? \((\d+)\)([^\t]*)/.exec(line);
  if (match === null) return [];
  const [, name = "", object = "vmlinux", , flags = ""] = match;
  const letters = flags.split(/\s+/).filter((word) => /^[A-Z]$/.test(word));
  return [
    {
      name,
      object,
      changesAddress: letters.includes("I"),
      direct: letters.includes("D"),
      line: line.replace(/\s+/g, " ").trim(),
    },
  ];
}
