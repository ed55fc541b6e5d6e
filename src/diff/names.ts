/**
 * Names that compilers and kernel macros number anew in every build. Two symbols with the same *base* may be the same thing.
 */

/** Numbered tails: `.isra.0`, `.constprop.12`, `.part.3`, `.cold`, `.llvm.123456`, and the bare `.123` of static locals. */
const numberedTail = /\.\d+(?=\.|$)/g;

/** Macros that put a counter, a line number or both inside of a name. */
const counterNames: readonly { readonly pattern: RegExp; readonly base: string; readonly from: string }[] = [
  {
    pattern: /^((?:.+\.)?__UNIQUE_ID_[^.]*?)\d+$/,
    base: "$1",
    from: "__UNIQUE_ID() of linux/compiler.h; clang puts the function of a static local before it",
  },
  { pattern: /^(__UNIQUE_ID_[^.]*?)\d+(\.\d+)$/, base: "$1", from: "a static local named by __UNIQUE_ID(), by gcc" },
  {
    pattern: /^(__initcall__kmod_.*?)__\d+_\d+_(.*)$/,
    base: "$1_$2",
    from: "__initcall_name() of linux/init.h: counter and line",
  },
  { pattern: /^(__BTF_ID__.*?__)\d+$/, base: "$1", from: "BTF_ID() of linux/btf_ids.h: counter and line" },
  { pattern: /^(__pi_|__cfi_|__pfx_)(.*)$/, base: "$1$2", from: "prefix symbols keep the name of their function" },
];

/**
 * A symbol name without the parts that a compiler or a macro numbers. `foo.isra.16` and `foo.isra.19` share `foo.isra`, `count.3` and
 * `count.12` share `count`, `f.constprop.0.cold` has `f.constprop.cold`.
 */
export function baseName(name: string): string {
  // Most names have nothing of the kind, and to try them with each pattern takes a tenth of the time of a comparison.
  if (!name.includes(".") && !/__(UNIQUE_ID_|initcall__kmod_|BTF_ID__)/.test(name)) return name;
  for (const { pattern, base } of counterNames)
    if (pattern.test(name)) return name.replace(pattern, base).replace(numberedTail, "");
  return name.includes(".") ? name.replace(numberedTail, "") : name;
}

/** True when the name ends in or holds a number that a compiler chose. */
export function isNumbered(name: string): boolean {
  return baseName(name) !== name;
}

/** The part of a function that gcc or clang moved out of line because it is unlikely: it has no entry of its own and always goes with its parent. */
export function coldParent(name: string): string | undefined {
  const at = name.indexOf(".cold");
  return at > 0 ? name.slice(0, at) : undefined;
}

/**
 * True for code that a compiler made from part of a function, or from all of it for some callers: `f.cold`, `f.part.0`, `f.isra.0`, `f.constprop.2`. It has
 * no source of its own, so it belongs to what reaches it.
 */
export function isOutlinedPart(name: string): boolean {
  return /\.(cold|part|isra|constprop)(\.|$)/.test(name);
}

/** A static local whose state may start anew in the patched function, because it is only a place to remember "already said". */
export interface SpecialStatic {
  readonly name: string;
  /** Where the macro of the kernel, or the compiler, puts it. Anything of this name elsewhere is a variable like all others. */
  readonly section: RegExp;
  /** Sizes in bytes that it can have; any by default. */
  readonly fits?: (size: number) => boolean;
  /** The struct that it is; where the debug information tells another type, it is a variable like all others. */
  readonly struct?: string;
  readonly reason: string;
}

const readOnly = /^\.(rodata|data\.rel\.ro)/;
const once = /^\.data\.\.?(once|unlikely)$/;
const dynamicDebug = /^(__dyndbg|__verbose)$/;
/** Written as names of plain variables are, with or without a section of its own. */
const plainData = /^\.data(\.|$)/;
const plainZero = /^\.(bss|data)(\.|$)/;

/** Never correlated: a patched function gets its own copy. */
const specialStatics: readonly SpecialStatic[] = [
  { name: "__func__", section: readOnly, reason: "the function's name as text" },
  { name: "__FUNCTION__", section: readOnly, reason: "the function's name as text" },
  { name: "__PRETTY_FUNCTION__", section: readOnly, reason: "the function's name as text" },
  {
    name: "__key",
    section: plainZero,
    // struct lock_class_key is empty without lockdep; with it a list node, or eight subkeys.
    fits: (size) => size === 0 || size >= 16,
    struct: "lock_class_key",
    reason: "lock class key: only its address counts, for lockdep",
  },
  { name: "__warned", section: once, reason: "flag of WARN_ONCE and friends" },
  { name: "__already_done", section: once, reason: "flag of DO_ONCE_LITE" },
  { name: "__print_once", section: once, reason: "flag of printk_once before 5.13" },
  {
    name: "_rs",
    section: plainData,
    // struct ratelimit_state: a lock, five counters, two times.
    fits: (size) => size >= 32,
    struct: "ratelimit_state",
    reason: "state of a printk rate limit",
  },
  { name: "CSWTCH", section: readOnly, reason: "table that gcc makes from a switch" },
  { name: "_entry", section: readOnly, reason: "printk index entry" },
  { name: "_entry_ptr", section: /^\.printk_index$/, reason: "pointer to a printk index entry" },
  { name: "descriptor", section: dynamicDebug, reason: "dynamic debug call site" },
  { name: "__UNIQUE_ID_ddebug", section: dynamicDebug, reason: "dynamic debug call site" },
];

const specialOf = new Map(specialStatics.map((each) => [each.name, each]));
const specialNames = new Set(specialOf.keys());

/**
 * Whether a patched function gets a fresh copy of a static variable.
 * @param name with its number.
 * @param size in bytes.
 */
export function startsAnew(name: string, section: string, size: number): boolean {
  if (!mayBeSpecial(name) && !section.startsWith(".data.")) return false;
  const special = isSpecialStatic(name) ? specialOf.get(lastPart(baseName(name))) : undefined;
  if (special !== undefined) return special.section.test(section) && (special.fits?.(size) ?? true);
  // /sys/kernel/debug/clear_warn_once makes all of it zero. DO_ONCE() is meant to run once ever, and asks a static key before its flag.
  // A variable named `once` has a section of that name by -fdata-sections alone.
  const last = lastPart(baseName(name));
  return /^\.data\.\.?once$/.test(section) && size <= 1 && last !== "___done" && last !== "once";
}

/** False for a plain name: those of special statics have a number, or the function before them. */
function mayBeSpecial(name: string): boolean {
  return name.includes(".") || name.includes("__UNIQUE_ID_");
}

/** The struct that a static variable of such a name has to be; undefined where the name promises none. */
export function structOfSpecial(name: string): string | undefined {
  return isSpecialStatic(name) ? specialOf.get(lastPart(baseName(name)))?.struct : undefined;
}

/** Without the function that clang puts before the name of a static local. */
function lastPart(base: string): string {
  const ddebug = /(^|\.)(__UNIQUE_ID_ddebug)/.exec(base);
  return ddebug?.[2] ?? base.slice(base.lastIndexOf(".") + 1);
}

/** True for statics that {@link specialStatics} lists, in gcc's form (`__warned.12`) and clang's (`function.__warned`). */
export function isSpecialStatic(name: string): boolean {
  if (!mayBeSpecial(name)) return false;
  if (/(^|\.)__UNIQUE_ID_ddebug/.test(name)) return true;
  const base = baseName(name);
  if (base !== name && specialNames.has(base)) return true;
  const dot = base.lastIndexOf(".");
  return dot > 0 && specialNames.has(base.slice(dot + 1));
}
