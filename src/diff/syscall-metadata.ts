import type { Atom } from "./atoms.ts";

/** Lists that the kernel reads once, at boot or when a module is loaded, to trace system calls (include/linux/syscalls.h, SYSCALL_METADATA). */
const lists: ReadonlyMap<string, RegExp> = new Map([
  ["_ftrace_events", /^__event_(?:enter|exit)_(_\w+)$/],
  ["__syscalls_metadata", /^__p_syscall_meta_(_\w+)$/],
]);

/** The system call that an entry of such a list is about, as `_newuname`; undefined for anything else. */
export function tracedSyscall({ section, name }: Atom): string | undefined {
  return lists.get(section.name)?.exec(name)?.[1];
}

/** The system call that a function is of: `__se_sys_newuname` and all others that the macros make have `_newuname`. */
export function syscallOf({ name }: Atom): string | undefined {
  return /(?:^|_)sys(_\w+?)(?:\..*)?$/.exec(name)?.[1];
}
