import { SectionFlag } from "../../elf/constants.ts";
import type { Atom, Reference, TableEntry } from "../atoms.ts";

/** A parameter in which a function of the kernel gets the number of a source line, for a message. */
interface LineParameter {
  readonly functions: RegExp;
  /** Counted from 0. */
  readonly parameter: number;
  /** Where other kernels have a small number there, the least that is a line. */
  readonly least?: number;
  readonly from: string;
}

/** The parameter is a line in every kernel that has the function, 4.19 to 6.18. */
const lineParameters: readonly LineParameter[] = [
  {
    functions: /^__{1,2}might_(sleep|resched|fault)$|^__cant_(sleep|migrate)$/,
    parameter: 1,
    from: "include/linux/kernel.h, linux/uaccess.h: (file, line, …)",
  },
  {
    functions: /^(warn_slowpath_(null|fmt|fmt_taint)|__warn|lockdep_rcu_suspicious)$/,
    parameter: 1,
    from: "include/asm-generic/bug.h, linux/lockdep.h: (file, line, …)",
  },
  {
    functions: /^__btrfs_(abort_transaction|handle_fs_(error|info)|panic)$/,
    parameter: 2,
    from: "fs/btrfs/messages.h, transaction.h: (…, function, line, …)",
  },
  {
    functions: /^__ext4_(error|error_inode|error_file|std_error|abort|warning|warning_inode)$/,
    parameter: 2,
    from: "fs/ext4/ext4.h: (sb or inode, function, line, …)",
  },
  {
    functions:
      /^__ext4_(handle_dirty_metadata|journal_get_write_access|journal_get_create_access|forget|journal_stop|grp_locked_error)$/,
    parameter: 1,
    from: "fs/ext4/ext4_jbd2.h, ext4.h: (where, line, …)",
  },
  {
    functions: /^__ext4_(mark_inode_dirty)$/,
    parameter: 3,
    from: "fs/ext4/ext4_jbd2.h: (handle, inode, function, line)",
  },
  {
    functions: /^__ext4_(iget|read_dirblock)$/,
    parameter: 4,
    from: "fs/ext4/ext4.h, namei.c: (sb or inode, number, flags, function, line)",
  },
  { functions: /^__ext4_check_dir_entry$/, parameter: 1, from: "fs/ext4/ext4.h: (function, line, …)" },
  {
    functions: /^__ext4_journal_start_(sb|reserved)$/,
    parameter: 1,
    least: 32,
    from: "fs/ext4/ext4_jbd2.h: (sb or handle, line, type, …)",
  },
  {
    functions: /^__ext4_journal_start_sb$/,
    parameter: 2,
    least: 32,
    from: "fs/ext4/ext4_jbd2.h, since 6.2: (inode, sb, line, type, …); before it, the type, which is below 12",
  },
  { functions: /^__snd_printk$/, parameter: 2, from: "include/sound/core.h: (level, file, line, …)" },
];

/** True where a function of that name takes a line, and the number may be one. */
export function isLineParameter(name: string, parameter: number, value: number): boolean {
  return lineParameters.some(
    (row) => row.parameter === parameter && value >= (row.least ?? 0) && row.functions.test(name),
  );
}

/** True for what `__FILE__` may be. */
export function isFileName(text: string): boolean {
  return /^[\w./+-]+\.[chS]$/.test(text);
}

/** What stands between a name and a line in messages: `%s:%d`, `%s (%d)`, `%s line %d`. */
const beforeLine = /^(:|@|:? ?\(|,? ?(at )?line:? )$/i;

/**
 * True where a message writes an argument as a number right behind a text, as it does with a line behind the name of its file.
 * @param argument counted from 0, behind the format.
 */
export function isWrittenBehindText(format: string, argument: number): boolean {
  const conversions = [...format.matchAll(/%([-+ #0]*)(\*|\d+)?(\.(\*|\d+))?(hh|h|ll|l|z|t|j)?([a-zA-Z%])/g)];
  if (conversions.some(([, , width, precision]) => width === "*" || precision === ".*")) return false;
  const arguments_ = conversions.filter(([, , , , , , kind]) => kind !== "%");
  const [text, number] = [arguments_[argument - 1], arguments_[argument]];
  if (text?.[6] !== "s" || number === undefined || !"diu".includes(number[6] as string)) return false;
  return beforeLine.test(format.slice(text.index + text[0].length, number.index));
}

/** Functions that only write what they get into a message. */
const messageFunctions =
  /^(_?printk|__warn_printk|printk_deferred|_printk_deferred|panic|_?dev_(emerg|alert|crit|err|warn|notice|info|printk)|__dynamic_(pr|dev|netdev)_debug|netdev_(emerg|alert|crit|err|warn|notice|info|printk)|seq_printf|__trace_printk|drm_(dev_)?(dbg|err|printk)|__drm_(dev_)?(dbg|err|printk))$/;

/** True for a function whose numbers only people read. */
export function isMessageFunction(name: string): boolean {
  return messageFunctions.test(name);
}

/** Bits of a byte, by its offset. */
export type Bits = ReadonlyMap<number, number>;

/** A structure with the source place of what it is about, which a message or a list for people shows. */
interface LocationData {
  /** Section in which the kernel's macros put it. */
  readonly section: RegExp;
  /** Name without numbers and without the function; any by default. */
  readonly base?: RegExp;
  /** Offset of the line. */
  readonly line: number;
  /** Its bits; 32 by default. They are the first of their word. */
  readonly bits?: 18;
  /** Offsets of the pointers to the file's and the function's name: a structure without them is another one. */
  readonly pointers: readonly number[];
  readonly from: string;
}

const locationData: readonly LocationData[] = [
  {
    section: /^(__dyndbg|__verbose)$/,
    line: 32,
    bits: 18,
    pointers: [0, 8, 16, 24],
    from: "struct _ddebug, include/linux/dynamic_debug.h",
  },
  { section: /^\.rodata/, base: /^__loc$/, line: 0, pointers: [8], from: "struct kunit_loc, include/kunit/test.h" },
  {
    section: /^\.(rodata|data\.rel\.ro)/,
    base: /^_entry$/,
    line: 24,
    pointers: [0, 8, 16],
    from: "struct pi_entry, include/linux/printk.h",
  },
  {
    section: /^(_ftrace_branch|_ftrace_annotated_branch)$/,
    line: 16,
    pointers: [0, 8],
    from: "struct ftrace_branch_data, include/linux/compiler.h",
  },
  {
    section: /^(\.codetag\.)?alloc_tags$/,
    line: 4,
    pointers: [16, 24],
    from: "struct codetag, include/linux/codetag.h",
  },
];

/** The bits of a structure that only tell its source line; undefined for anything else. */
export function lineBits(atom: Atom, littleEndian: boolean): Bits | undefined {
  if ((atom.section.flags & SectionFlag.execinstr) !== 0) return undefined;
  const base = atom.base.slice(atom.base.lastIndexOf(".") + 1);
  const row = locationData.find(
    ({ section, base: wanted }) => section.test(atom.section.name) && (wanted?.test(base) ?? true),
  );
  if (row === undefined || row.line + 4 > atom.bytes.length) return undefined;
  if (!row.pointers.every((offset) => atom.references.some((reference) => isText(reference, offset)))) return undefined;
  const bytes = row.bits === undefined ? [0xff, 0xff, 0xff, 0xff] : [0xff, 0xff, littleEndian ? 0x03 : 0xc0, 0];
  return new Map(bytes.map((bits, at) => [row.line + at, bits]));
}

function isText({ offset, target }: Reference, wanted: number): boolean {
  if (offset !== wanted) return false;
  // The name of the module is built in, or that of another unit.
  return target.kind !== "atom" || target.atom.kind === "string" || target.atom.kind === "rodata";
}

/** Where an entry of `__bug_table` has its line, and what names the file (struct bug_entry, include/asm-generic/bug.h). */
export interface BugLine {
  readonly offset: number;
  readonly line: number;
  readonly file: Reference;
}

/**
 * Reads the line of a BUG() or WARN(): two bytes behind the pointer to the file's name, with two bytes of flags behind them.
 * @returns undefined for an entry without them (CONFIG_DEBUG_BUGVERBOSE off).
 */
export function bugLine({ table, bytes, references }: TableEntry, littleEndian: boolean): BugLine | undefined {
  const file = references.findLast(({ target }) => textOf(target) !== undefined);
  const offset = bugLineOffset(bytes.length);
  if (table !== "__bug_table" || file === undefined || offset === undefined || file.offset >= offset) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { offset, line: view.getUint16(offset, littleEndian), file };
}

/** Distances of 4 bytes, or addresses of 8, with the padding of these behind the flags. */
function bugLineOffset(size: number): number | undefined {
  if (size === 12 || size === 16) return size - 4;
  return size === 24 ? 16 : undefined;
}

/** The text that a reference leads to, through a table of addresses where there is one between. */
export function textOf(target: Reference["target"]): string | undefined {
  if (target.kind !== "atom") return undefined;
  const { atom } = target;
  const [only] = atom.references;
  if (atom.kind === "constant" && atom.references.length === 1 && only !== undefined) return textOf(only.target);
  const isName = atom.kind === "rodata" && /(^|\.)__(func__|FUNCTION__|PRETTY_FUNCTION__)$/.test(atom.base);
  if (atom.kind !== "string" && !isName) return undefined;
  const text = Buffer.from(atom.bytes).toString("latin1");
  const end = text.indexOf("\0");
  return end < 0 ? undefined : text.slice(0, end);
}
