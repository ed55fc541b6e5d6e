/**
 * The one table of special sections: sections of equal entries that the kernel or its module loader reads, each about one place in the code. What the diff,
 * the proof, the module writer and its self-check know of such a section stands in its row; a new one is a new row.
 */
export interface SpecialSection {
  /** Section name in a relocatable object. */
  readonly table: string;
  /** What an entry says about its place, for a person. */
  readonly noun: string;
  /** Bytes of an entry that no kernel has changed. */
  readonly size?: number;
  /** The struct that an entry is, whose size the target's own types tell. */
  readonly struct?: string;
  /** An entry changes what code does without a change of its bytes; the other tables only repeat what the code shows. */
  readonly changesCode?: true;
  /** Where an entry has the key of a static branch or call: the last eight bytes, or four bytes after the place. Its low bits are flags. */
  readonly key?: "last8" | "second4";
  /** The module loader reads it: the one section of that name. */
  readonly loader?: true;
  /** No patch module carries it: it asks for a hardening that is right only for what it was made from. */
  readonly leftOut?: true;
  /** How a linked x86-64 image has it; sections that say no more than code and kernel do are not compared. */
  readonly linked?: LinkedTable;
}

/** A special section in a linked image. */
export interface LinkedTable {
  /** Symbols around it (include/asm-generic/vmlinux.lds.h, arch/x86/kernel/vmlinux.lds.S; 5.10 to 6.18). */
  readonly bounds: readonly [string, string];
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

/** A special section as the proof compares it. */
export type TableRule = Pick<SpecialSection, "table" | "noun" | "key"> & LinkedTable;

const relative = { width: 4, isRelative: true } as const;
const absolute = { width: 8, isRelative: false } as const;

/** Line and file of a BUG() or WARN() are for the message; flags stand behind them (struct bug_entry, include/asm-generic/bug.h). */
const bugVerbosity = (size: number): { from: number; to: number } =>
  size >= 12 ? { from: size - 8, to: size - 2 } : { from: size, to: size };

/** struct alt_instr ends with the length of the replacement; it was followed by that of the padding up to Linux 5.12, in entries of 13 bytes. */
const replacementLength = (size: number): number => size - (size === 13 ? 2 : 1);

/**
 * The loader reads its tables in module_finalize(), find_module_sections() and the notifiers of a module that comes up, all of which run before
 * the livepatch core writes relocations that wait for a patched module (kernel/module/main.c, kernel/livepatch/core.c): no entry of them may need one.
 */
export const specialSections: readonly SpecialSection[] = [
  {
    table: "__jump_table",
    noun: "a static branch",
    struct: "jump_entry",
    changesCode: true,
    key: "last8",
    loader: true,
    linked: { bounds: ["__start___jump_table", "__stop___jump_table"], sizes: [16], place: relative },
  },
  {
    table: ".altinstructions",
    noun: "an alternative",
    struct: "alt_instr",
    changesCode: true,
    loader: true,
    linked: {
      bounds: ["__alt_instructions", "__alt_instructions_end"],
      sizes: [12, 14, 13],
      place: relative,
      replacementLength,
    },
  },
  {
    table: "__ex_table",
    noun: "an exception handler",
    struct: "exception_table_entry",
    changesCode: true,
    loader: true,
    linked: { bounds: ["__start___ex_table", "__stop___ex_table"], sizes: [12], place: relative },
  },
  {
    table: "__bug_table",
    noun: "a BUG() or WARN()",
    struct: "bug_entry",
    changesCode: true,
    loader: true,
    linked: {
      bounds: ["__start___bug_table", "__stop___bug_table"],
      sizes: [12, 8, 16],
      place: relative,
      ignored: bugVerbosity,
    },
  },
  {
    table: ".static_call_sites",
    noun: "a static call",
    size: 8,
    struct: "static_call_site",
    changesCode: true,
    key: "second4",
    loader: true,
    linked: { bounds: ["__start_static_call_sites", "__stop_static_call_sites"], sizes: [8], place: relative },
  },
  {
    table: ".parainstructions",
    noun: "a paravirt call",
    struct: "paravirt_patch_site",
    changesCode: true,
    loader: true,
    linked: { bounds: ["__parainstructions", "__parainstructions_end"], sizes: [16], place: absolute },
  },
  {
    table: ".smp_locks",
    noun: "a lock prefix",
    size: 4,
    changesCode: true,
    loader: true,
    linked: { bounds: ["__smp_locks", "__smp_locks_end"], sizes: [4], place: relative },
  },
  {
    table: "__mcount_loc",
    noun: "a place of ftrace",
    size: 8,
    loader: true,
    linked: { bounds: ["__start_mcount_loc", "__stop_mcount_loc"], sizes: [8], place: absolute },
  },
  {
    table: ".retpoline_sites",
    noun: "a retpoline",
    size: 4,
    loader: true,
    linked: { bounds: ["__retpoline_sites", "__retpoline_sites_end"], sizes: [4], place: relative },
  },
  {
    table: ".return_sites",
    noun: "a return thunk",
    size: 4,
    loader: true,
    linked: { bounds: ["__return_sites", "__return_sites_end"], sizes: [4], place: relative },
  },
  {
    // Where the state of the unwinder changes; `.orc_unwind` says to what (struct orc_entry, arch/x86/include/asm/orc_types.h).
    table: ".orc_unwind_ip",
    noun: "a state of the stack",
    size: 4,
    loader: true,
    linked: {
      bounds: ["__start_orc_unwind_ip", "__stop_orc_unwind_ip"],
      sizes: [4],
      place: relative,
      partner: { table: ".orc_unwind", bounds: ["__start_orc_unwind", "__stop_orc_unwind"] },
    },
  },
  { table: ".orc_unwind", noun: "a state of the stack", loader: true },
  // It names every call: no more than the code does.
  { table: ".call_sites", noun: "a call", size: 4, loader: true },
  // What one unit alone keeps no address of, another unit of the patch may; of a linked object it says what the whole kernel or module keeps.
  {
    table: ".ibt_endbr_seal",
    noun: "an unused ENDBR",
    size: 4,
    loader: true,
    leftOut: true,
    linked: { bounds: ["__ibt_endbr_seal", "__ibt_endbr_seal_end"], sizes: [4], place: relative },
  },
  { table: ".cfi_sites", noun: "a check of control flow", size: 4, loader: true },
  { table: ".kcfi_traps", noun: "a trap of control flow", size: 4 },
  { table: ".printk_index", noun: "a printed message", changesCode: true, loader: true },
  // PowerPC: code that depends on features of the processor (arch/powerpc/include/asm/feature-fixups.h).
  { table: "__ftr_fixup", noun: "a feature fixup", size: 48, changesCode: true, loader: true },
  { table: "__mmu_ftr_fixup", noun: "a feature fixup", size: 48, changesCode: true, loader: true },
  { table: "__fw_ftr_fixup", noun: "a feature fixup", size: 48, changesCode: true, loader: true },
  { table: "__lwsync_fixup", noun: "a barrier", changesCode: true, loader: true },
  // s390: expolines (arch/s390/kernel/nospec-branch.c).
  { table: ".s390_indirect_jump", noun: "an expoline", size: 4 },
  { table: ".s390_indirect_call", noun: "an expoline", size: 4 },
  { table: ".s390_indirect_branches", noun: "an expoline", size: 4 },
  { table: ".s390_return_mem", noun: "an expoline", size: 4 },
  // -mstack-protector-guard-record: the kernel makes these instructions read the task's own guard.
  { table: "__stack_protector_loc", noun: "a use of the stack protector", size: 8, changesCode: true, loader: true },
  { table: ".s390_return_reg", noun: "an expoline", size: 4 },
];

/** Size of the entries of arm64's and PowerPC's lists of ftrace entries, which are tables there (Architecture.ftraceTables). */
const patchableEntrySize = 8;

const byTable = new Map(specialSections.map((row) => [row.table, row]));

/** Tables beyond the rows: one for each variable (runtime-constants.ts), and PowerPC's other fixups. */
const furtherTables = /^(runtime_(ptr|shift)_.*|__\w+_fixup)$/;

/** Code that only entries of a table, and functions beside them, reach. */
const companions: readonly { readonly pattern: RegExp; readonly reason: string }[] = [
  {
    pattern: /^\.(altinstr_replacement|altinstr_aux|fixup)$/,
    reason: "code that table entries and the functions themselves jump to",
  },
  { pattern: /^__ftr_alt_/, reason: "the other version of code that a PowerPC feature fixup names" },
];

/** True for a section with one entry per place in the code. */
export function isTable(section: string): boolean {
  return byTable.has(section) || furtherTables.test(section);
}

/** True for pieces that only table entries and code of the same unit reach. */
export function isCompanion(section: string): boolean {
  return companions.some(({ pattern }) => pattern.test(section));
}

/** Tables whose entries change what code does without a change of its bytes, in the order in which differences are reported. */
export const meaningfulTables: readonly string[] = specialSections
  .filter(({ changesCode }) => changesCode)
  .map(({ table }) => table);

/** Bytes per entry where no kernel has changed them. */
export function fixedEntrySize(table: string): number | undefined {
  return table === "__patchable_function_entries" ? patchableEntrySize : byTable.get(table)?.size;
}

/** By table, the struct that an entry is. */
export const tableStructs: ReadonlyMap<string, string> = new Map(
  specialSections.flatMap(({ table, struct }) => (struct === undefined ? [] : [[table, struct]])),
);

/** True for a table whose entries name the key of a static branch or call. */
export function hasKey(table: string): boolean {
  return byTable.get(table)?.key !== undefined;
}

/** True for a table that the module loader reads: there may be one, and no entry may wait for a patched module. */
export function isReadByLoader(table: string): boolean {
  return byTable.get(table)?.loader === true;
}

function ruleOf({ table, noun, key, linked }: SpecialSection): TableRule[] {
  return linked === undefined ? [] : [{ table, noun, ...(key === undefined ? {} : { key }), ...linked }];
}

function tableRule(table: string): TableRule {
  const [rule] = specialSections.filter((row) => row.table === table).flatMap(ruleOf);
  if (rule === undefined) throw new Error(`${table} has no rule`);
  return rule;
}

/** The states of the unwinder are held against the target by what they say, not entry by entry (orc-proof.ts). */
export const orcRule: TableRule = tableRule(".orc_unwind_ip");

/** Where functions call ftrace. */
export const ftraceRule: TableRule = tableRule("__mcount_loc");

/** Functions whose landing pad the kernel takes away at boot. What a unit alone says of it is not what the whole kernel says. */
export const sealRule: TableRule = tableRule(".ibt_endbr_seal");

/** True for a table that no patch module carries. */
export function isLeftOut(table: string): boolean {
  return byTable.get(table)?.leftOut === true;
}

/** The tables that are held against the target entry by entry, for x86-64: an entry that only one side has, or has otherwise, is other code. */
export const tableRules: readonly TableRule[] = specialSections
  .filter(({ table }) => table !== orcRule.table && table !== sealRule.table)
  .flatMap(ruleOf);

/** The rule for a table that has a name of its own for each variable, such as `runtime_ptr_dentry_hashtable`. */
export function runtimeTableRule(table: string): TableRule | undefined {
  const match = /^runtime_(ptr|shift)_(.+)$/.exec(table);
  if (match === null) return undefined;
  const noun = `a runtime constant (${match[2]})`;
  return { table, bounds: [`__start_${table}`, `__stop_${table}`], noun, sizes: [4], place: relative };
}
