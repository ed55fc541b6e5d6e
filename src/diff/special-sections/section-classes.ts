import { SectionFlag, SectionType } from "../../elf/constants.ts";
import type { Section } from "../../elf/model.ts";
import type { RefusalCode } from "../../refusals/refusals.ts";
import { isCompanion, isTable } from "./special-sections.ts";

/**
 * How the diff treats a section:
 * - `content`  split into atoms, compared, carried when needed
 * - `table`    entries that each belong to the code they point at; entries of carried code are carried (special-sections.ts)
 * - `companion` pieces that only table entries and code of the same unit reach; carried with them
 * - `init`     code and data that exist only while the kernel boots or the module loads
 * - `registry` entries that the kernel or the module loader collects; a new or changed one is refused with `refusal`
 * - `mark`     what the author of the patch says to kmend (author-marks.ts)
 * - `ignored`  has no effect on the running code
 */
export type SectionClass = "content" | "table" | "companion" | "init" | "registry" | "mark" | "ignored";

export interface SectionRule {
  readonly pattern: RegExp;
  readonly class: SectionClass;
  readonly reason: string;
  /** For `registry`: the row of the refusal table. */
  readonly refusal?: RefusalCode;
}

/** First match wins. Names are those of the kernel's include/asm-generic/vmlinux.lds.h and of scripts/module.lds.S, 4.19 to 6.18. */
const sectionRules: readonly SectionRule[] = [
  {
    pattern: /^\.(kmend|kpatch)\./,
    class: "mark",
    reason: "made by the macros of livepatch_helpers.h and kpatch-macros.h, or by kpatch's own",
  },
  {
    pattern: /^\.(debug_|comment$|note|eh_frame|gnu_debuglink|llvm|llvm_addrsig)/,
    class: "ignored",
    reason: "for tools, not for the kernel",
  },
  { pattern: /^\.discard/, class: "ignored", reason: "read by objtool and dropped by the linker" },
  // .BTF_ids is another matter: numbers of types that code reads.
  { pattern: /^\.BTF(\.|$)/, class: "ignored", reason: "types for tools" },
  {
    pattern: /^\.modinfo$/,
    class: "ignored",
    reason: "text about the module; import namespaces are carried by the module room",
  },
  { pattern: /^__versions$/, class: "ignored", reason: "made anew for the patch module" },
  {
    pattern: /^__patchable_function_entries$/,
    class: "ignored",
    reason: "not used on x86, where __mcount_loc is; a table elsewhere (Architecture.ftraceTables)",
  },
  { pattern: /^\.sframe$/, class: "ignored", reason: "user space unwinding format, not read by the loader" },
  {
    pattern: /^\.static_call_tramp_key$/,
    class: "ignored",
    reason: "pairs of key and trampoline for exported static calls, made by modpost's users",
  },
  { pattern: /^\.opd$/, class: "ignored", reason: "function descriptors, seen through (descriptors.ts)" },
  {
    pattern: /^\.orc_header$/,
    class: "ignored",
    reason: "hash of the ORC layout, made anew from the kernel's own headers",
  },
  {
    pattern: /^\.(init|exit|meminit|memexit|cpuinit|cpuexit|devinit|devexit)\./,
    class: "init",
    reason: "freed after boot or load, or never kept",
  },
  { pattern: /^\.head\.text$/, class: "init", reason: "boot code" },
  {
    pattern: /^\.(con_|security_)?initcall/,
    class: "registry",
    refusal: "INITCALL",
    reason: "functions that run once at boot",
  },
  {
    pattern: /^(___?(ksymtab|kcrctab)|\.export_symbol$)/,
    class: "registry",
    refusal: "EXPORT_CHANGED",
    reason: "exports",
  },
  { pattern: /^__param$/, class: "registry", refusal: "MODULE_PARAMETER", reason: "module parameters" },
  {
    pattern:
      /^(_ftrace_events|_ftrace_eval_map|__syscalls_metadata|__tracepoints|__tracepoints_ptrs|__tracepoints_strings|__bpf_raw_tp_map|_error_injection_whitelist|_kprobe_blacklist|\.kunit_(init_)?test_suites$|\.(ctors|dtors|init_array|fini_array)(\.|$)|__.*_(of_)?table|\.pci_fixup|\.smp_.*init|\.x86_.*_dev|\.apicdrivers|\.BTF_ids|__tracepoint_ptrs)/,
    class: "registry",
    refusal: "SECTION_CHANGED",
    reason: "lists that the kernel reads once",
  },
];

/** What `-ffunction-sections` and `-fdata-sections` make, and what they leave together: no rule is about any of these. */
const plainContent: RegExp = /^\.(text|rodata|data|bss)(\.[^.]|$)/;

/** Class of a section by its name, or undefined when the section is ordinary content. */
function namedClass(name: string): SectionClass | undefined {
  if (plainContent.test(name)) return undefined;
  // special-sections.ts has the tables.
  if (isTable(name)) return "table";
  if (isCompanion(name)) return "companion";
  return sectionRule(name)?.class;
}

/** The rule for a section name that is neither content nor table. */
export function sectionRule(name: string): SectionRule | undefined {
  return sectionRules.find((rule) => rule.pattern.test(name));
}

/** Names of sections for the data of C, whose pointers into functions are those of C: of functions, and of labels in jump tables. */
const dataOfC = /^\.(data|rodata|bss|lbss|ldata|lrodata|init|exit)(\.|$)/;

/** True for a section of the program's own that no rule knows: a list that the linker collects, which may tell the kernel something about code. */
export function isUnknownList(section: Section): boolean {
  const isData = (section.flags & (SectionFlag.alloc | SectionFlag.execinstr)) === SectionFlag.alloc;
  return isData && namedClass(section.name) === undefined && !dataOfC.test(section.name);
}

/** Class of one section: by its name first, then by what kind of section it is. */
export function classOf(section: Section): SectionClass {
  let known = classes.get(section);
  if (known === undefined) {
    known = judgeClass(section);
    classes.set(section, known);
  }
  return known;
}

const classes = new WeakMap<Section, SectionClass>();

function judgeClass(section: Section): SectionClass {
  if (section.type === SectionType.group || (section.flags & SectionFlag.alloc) === 0) return "ignored";
  const known = section.type === SectionType.progbits || section.type === SectionType.nobits;
  if (!known && section.type !== SectionType.initArray && section.type !== SectionType.finiArray) {
    return section.type === SectionType.note ? "ignored" : (namedClass(section.name) ?? "ignored");
  }
  return namedClass(section.name) ?? "content";
}

/**
 * True when nothing of the section is left in the running kernel. The exit code of a module stays with it until it is removed; that of the kernel image was
 * never there.
 */
export function isGone(section: Section, object: string): boolean {
  return classOf(section) === "init" && (object === "vmlinux" || !section.name.startsWith(".exit."));
}

/**
 * What the undefined behaviour sanitizer reports: source places and descriptions of types. gcc names them (`.data..Lubsan_data3`, `.data.rel.local.…`),
 * clang leaves them without a name. Writing only marks a place as reported.
 */
export function isSanitizerData(name: string): boolean {
  return /^\.data\.(rel\.(local\.)?)?\.L(ubsan_(data|type)|__unnamed_)\d+$/.test(name);
}

/** Data that nothing may write once the kernel has booted. */
export function isReadOnlyAfterBoot(name: string): boolean {
  return /^\.rodata|^\.data\.\.ro_after_init|^\.data\.rel\.ro/.test(name);
}

/** Per-CPU data: the loader gives a module's own copy another home. */
export function isPercpu(name: string): boolean {
  return /^\.data\.\.percpu/.test(name);
}

/** True for content that is zero in an object and written after the kernel is linked: `.BTF_ids`, by resolve_btfids (tools/bpf/resolve_btfids/main.c). */
export function isFilledAfterLink(section: Section): boolean {
  return section.name === ".BTF_ids";
}
