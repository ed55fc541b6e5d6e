/** How the kernel reads one of its tables of places in the code, as far as the proof compares it. */
export interface TableRule {
  /** Section name in a relocatable object. */
  readonly table: string;
  /** Symbols around it in a linked image (include/asm-generic/vmlinux.lds.h, arch/x86/kernel/vmlinux.lds.S; 5.10 to 6.18). */
  readonly bounds: readonly [string, string];
  /** What an entry says about its place, for a person. */
  readonly noun: string;
  /** Bytes of an entry where neither the unit nor the target's types say so; the first that divides the table. */
  readonly sizes: readonly number[];
  /** The field with the place: a distance from the field itself, or an address. It is the first of the entry. */
  readonly place: { readonly width: 4 | 8; readonly isRelative: boolean };
  /** A table with as many entries, which say more about each. */
  readonly partner?: { readonly table: string; readonly bounds: readonly [string, string] };
  /** What is left out of the comparison of an entry of `size` bytes: it changes nothing that runs. */
  readonly ignored?: (size: number) => { readonly from: number; readonly to: number };
  /** Where an entry of `size` bytes has the length of the code that its second field points at. */
  readonly replacementLength?: (size: number) => number;
}

const relative = { width: 4, isRelative: true } as const;
const absolute = { width: 8, isRelative: false } as const;

/** Line and file of a BUG() or WARN() are for the message; flags stand behind them (struct bug_entry, include/asm-generic/bug.h). */
const bugVerbosity = (size: number): { from: number; to: number } =>
  size >= 12 ? { from: size - 8, to: size - 2 } : { from: size, to: size };

/** struct alt_instr ends with the length of the replacement; it was followed by that of the padding up to Linux 5.12, in entries of 13 bytes. */
const replacementLength = (size: number): number => size - (size === 13 ? 2 : 1);

/** Where functions call ftrace. */
export const ftraceRule: TableRule = {
  table: "__mcount_loc",
  bounds: ["__start_mcount_loc", "__stop_mcount_loc"],
  noun: "a place of ftrace",
  sizes: [8],
  place: absolute,
};

/** Where the state of the unwinder changes; `.orc_unwind` has as many entries, which say to what (struct orc_entry, arch/x86/include/asm/orc_types.h). */
export const orcRule: TableRule = {
  table: ".orc_unwind_ip",
  bounds: ["__start_orc_unwind_ip", "__stop_orc_unwind_ip"],
  noun: "a state of the stack",
  sizes: [4],
  place: relative,
  partner: { table: ".orc_unwind", bounds: ["__start_orc_unwind", "__stop_orc_unwind"] },
};

/**
 * All tables that are held against the target, for x86-64: an entry that only one side has, or has otherwise, is other code. `.call_sites` names every
 * call, and `.ibt_endbr_seal` what the whole kernel has no address of: neither says more than code and kernel do.
 */
export const tableRules: readonly TableRule[] = [
  {
    table: "__jump_table",
    bounds: ["__start___jump_table", "__stop___jump_table"],
    noun: "a static branch",
    sizes: [16],
    place: relative,
  },
  {
    table: ".altinstructions",
    bounds: ["__alt_instructions", "__alt_instructions_end"],
    noun: "an alternative",
    sizes: [12, 14, 13],
    place: relative,
    replacementLength,
  },
  {
    table: "__ex_table",
    bounds: ["__start___ex_table", "__stop___ex_table"],
    noun: "an exception handler",
    sizes: [12],
    place: relative,
  },
  {
    table: "__bug_table",
    bounds: ["__start___bug_table", "__stop___bug_table"],
    noun: "a BUG() or WARN()",
    sizes: [12, 8, 16],
    place: relative,
    ignored: bugVerbosity,
  },
  {
    table: ".static_call_sites",
    bounds: ["__start_static_call_sites", "__stop_static_call_sites"],
    noun: "a static call",
    sizes: [8],
    place: relative,
  },
  {
    table: ".parainstructions",
    bounds: ["__parainstructions", "__parainstructions_end"],
    noun: "a paravirt call",
    sizes: [16],
    place: absolute,
  },
  {
    table: ".smp_locks",
    bounds: ["__smp_locks", "__smp_locks_end"],
    noun: "a lock prefix",
    sizes: [4],
    place: relative,
  },
  ftraceRule,
  {
    table: ".retpoline_sites",
    bounds: ["__retpoline_sites", "__retpoline_sites_end"],
    noun: "a retpoline",
    sizes: [4],
    place: relative,
  },
  {
    table: ".return_sites",
    bounds: ["__return_sites", "__return_sites_end"],
    noun: "a return thunk",
    sizes: [4],
    place: relative,
  },
];

/** The rule for a table that has a name of its own for each variable, such as `runtime_ptr_dentry_hashtable`. */
export function runtimeTableRule(table: string): TableRule | undefined {
  const match = /^runtime_(ptr|shift)_(.+)$/.exec(table);
  if (match === null) return undefined;
  const noun = `a runtime constant (${match[2]})`;
  return { table, bounds: [`__start_${table}`, `__stop_${table}`], noun, sizes: [4], place: relative };
}
