/**
 * One reason why a change cannot be live patched. A run collects all of them before it ends with exit code 4.
 */
export interface Refusal {
  /** Row of {@link refusalTexts}. */
  readonly code: RefusalCode;
  /** The function, section, symbol or file that is refused. */
  readonly what: string;
  /** Unit, source line or offset for a person, where known; else an empty string. */
  readonly where: string;
  readonly why: string;
  /** What to do, with {@link option} in the words of `kmend build`. */
  readonly hint: string;
  /** Source file that it is about, as the kernel's tree calls it. */
  readonly unit?: string | undefined;
  /** `vmlinux` or the module that the unit belongs to. */
  readonly object?: string | undefined;
  /** The function that it is about. */
  readonly function?: string | undefined;
  /** The option that accepts what is refused. */
  readonly option?: AcceptingOption | undefined;
}

/** An option that accepts what was refused. */
export interface AcceptingOption {
  /** Long name without dashes. */
  readonly name: string;
  readonly value: string;
  /** What it does, as one clause that follows the option. */
  readonly effect: string;
}

/** What a refusal is about. */
export interface RefusalPlace {
  readonly unit: string;
  readonly object?: string | undefined;
  readonly function?: string | undefined;
  /** Function and offset, source line or the like, for a person. */
  readonly detail?: string | undefined;
}

interface RefusalText {
  readonly why: string;
  readonly hint: string;
  readonly option?: AcceptingOption;
}

/** Reason and advice of every refusal. `{…}` places are filled by {@link refuse}. */
export const refusalTexts = {
  INIT_CODE: {
    why: "code in {section} ran once at boot (or module load) and its memory is gone: patching it changes nothing",
    hint: "leave this part out of the patch, or repair its effect at load time in a pre-patch callback",
  },
  ADDED_BY_EARLIER: {
    why: "the patch module {module} of an earlier update added it, and the kernel does not resolve references from one patch module to another's own functions",
    hint: "undo that update, and build one update from both patches",
  },
  DATA_CHANGED: {
    why: "the running kernel already {holds} this data in {section}; a new initial value would not reach it",
    hint: "set the new value from a pre-patch callback, or move the decision into the code that reads the data",
  },
  DATA_SIZE_CHANGED: {
    why: "the live object has {oldSize} bytes and the patched one {newSize}: old and new code would disagree about its layout",
    hint: "keep the object as it is and put the new part into a new variable or a shadow variable",
  },
  DATA_MOVED: {
    why: "the running kernel keeps it in {from}; code that is compiled for {to} cannot use it there",
    hint: "keep the declaration, and put what must be stored elsewhere into a new variable",
  },
  DATA_ALIGNED: {
    why: "the running kernel aligns it to {from} bytes, and code that is compiled with the patch may rely on {to}",
    hint: "keep the declaration; if the alignment only serves speed, leave it out of the patch",
  },
  STATE_RENAMED: {
    why: "it replaces {old}, which nothing uses any more with the patch: it would start with its initial value, and the state that the running kernel has in {old} would be lost",
    hint: "keep the variable's name; if it really is a different variable, give it another type or size, or copy the state in a pre-patch callback",
  },
  NAMES_EXCHANGED: {
    why: "with the patch {problem}: the new code would take the state that the running kernel stored under one name for that of the other",
    hint: "keep both names; if the two must be exchanged, do it in the code that reads them, and move the existing state in a pre-patch callback",
  },
  ADDRESS_COMPARED: {
    why: "{user} compares something with its address, and the new code has a copy at another address: code that knows one address would not recognise what was set up with the other",
    hint: "leave the constant, or the function that stores its address, unchanged, and make the change elsewhere",
  },
  ENTRY_SEALED: {
    why: "the new code takes the address of {name}, and no code of the kernel does: the kernel removes the landing pad (ENDBR) of such a function at boot, and an indirect call to it faults on processors with indirect branch tracking",
    hint: "add a function to the patch that calls {name}, and use its address",
  },
  RODATA_SHARED: {
    why: "this read-only data changes, and unchanged functions ({users}) keep reading the old copy",
    hint: "make the change in the functions that read it, or include all of its readers in the patch",
  },
  DEFINITION_CHANGED: {
    why: "{problem}",
    hint: "{advice}",
  },
  ASSEMBLY: {
    why: "assembly code has no function entry that ftrace can redirect",
    hint: "change the C callers of the assembly function instead",
  },
  ALIAS_MOVED: {
    why: "it stands for {from} in the running kernel and for {to} with the patch, and callers keep the address that they were linked with",
    hint: "leave the alias as it is, and make the change in the function that it stands for",
  },
  INDIRECT_FUNCTION: {
    why: "{problem}: its callers run the function that a resolver (ifunc) chose once, and the resolver does not run again",
    hint: "make the change in the functions that the resolver chooses from",
  },
  NOT_TRACEABLE: {
    why: "ftrace cannot redirect this function (no fentry call at its start{reason})",
    hint: "{advice}",
  },
  AMBIGUOUS_PLACE: {
    why: "{user} refers to the place where {before} ends and this variable begins, and nothing shows which of them is meant",
    hint: "declare it without a section attribute such as __read_mostly, so that it gets a section of its own",
  },
  SHORT_BRANCH: {
    why: "it has a short jump to {target} in the same section {section}, and the patch module will be out of its reach",
    hint: "change the function so that it does not end with a call to {target}, or patch its callers instead",
  },
  FAR_REFERENCE: {
    why: "the patch module is loaded far from {target}, and this function {problem}",
    hint: "build both objects with the options that the kernel's modules are built with, and with the ones named here",
  },
  SECTION_CHANGED: {
    why: "section {section} differs between the original and the patched unit, and kmend does not know how to apply such a change",
    hint: "leave out the source change that causes it, or report the case with the patch and the kernel's release",
  },
  UNKNOWN_SECTION: {
    why: "section {section} refers to a place in it, and kmend does not know how the kernel uses that section",
    hint: "patch another function, or report the case with the patch and the kernel's release",
  },
  RUNTIME_CONSTANT: {
    why: "the kernel writes the value of {variable} into its code at boot, and does not do so for modules",
    hint: "make the change in its callers, or read the variable itself in the patched function",
  },
  SPECIAL_SECTION: {
    why: "{problem}",
    hint: "rewrite the changed function so that it does not need it; for something that the kernel freed after boot, the patch can add a copy under another name",
  },
  LAYOUT_CHANGED: {
    why: "live objects and unpatched code keep the kernel's layout: {problem}",
    hint: "{advice}",
    option: { name: "allow-layout", value: "{name}", effect: "accepts the change as it is" },
  },
  NOT_ADAPTABLE: {
    why: "{problem} ({rule})",
    hint: "{advice}",
  },
  CONSTANT_EXCHANGED: {
    why: "it gets the value {value}, which was that of {from}: what the old code marked as {from} would be taken for {name}",
    hint: "keep existing values, and give new names new values",
    option: { name: "allow-layout", value: "{name}", effect: "accepts it, if no object stores the value" },
  },
  LAYOUT_UNKNOWN: {
    why: "the patch may change data structures, and kmend cannot read the types of this unit: {problem}",
    hint: "leave type changes out, or use a kernel that was built with debug information",
    option: { name: "allow-layout", value: "'*'", effect: "accepts all" },
  },
  DECLARED_DIFFERENTLY: {
    why: "{problem}: the new code would misuse it",
    hint: "use exactly the source that the kernel was built from",
    option: { name: "allow-layout", value: "{name}", effect: "accepts the declaration as it is" },
  },
  STATIC_LOCAL: {
    why: "{problem}",
    hint: "keep the static variable and its use as in the original function",
  },
  JUMP_LABEL_MODULE_KEY: {
    why: "it uses the static key {key} of a module: the kernel sets up jump labels before it knows the key's address, and the two bytes at this place leave no room for a branch that reads the key",
    hint: "use static_key_enabled() instead of the static branch at this place",
  },
  CALLBACK_TWICE: {
    why: "{object} already has the {kind} callback {other}, and the kernel calls only one of each kind for an object",
    hint: "call both functions from one callback",
  },
  INITCALL: {
    why: "the initcall of a patch module never runs in place of the original one ({section})",
    hint: "do the work in a pre-patch callback",
  },
  EXPORT_CHANGED: {
    why: "{problem}",
    hint: "leave the export as it is in the original",
  },
  TRACE_EVENT: {
    why: "{problem}, and the kernel's trace event tables and the code that records and prints the events were fixed when the kernel was built",
    hint: "leave the trace event unchanged, and use trace_printk() or an existing event",
  },
  IMAGE_PART: {
    why: "it is part of {part}, which the kernel image contains in its finished form: ftrace cannot redirect code in it",
    hint: "{advice}",
  },
  MODULE_PARAMETER: {
    why: "the new parameter would belong to the patch module and not to {object}",
    hint: "leave the module parameter out of the patch",
  },
  PERCPU_DATA: {
    why: "the kernel sets up the per-CPU data of a patch module separately from that of {object}",
    hint: "keep the per-CPU variable as it is, or use a shadow variable per CPU",
  },
  UNPROVEN_FUNCTION: {
    why: "the unpatched function, compiled here, differs from the code of the target kernel: {difference}",
    hint: "{cause}",
  },
  UNPROVEN_SYMBOL: {
    why: "{problem}",
    hint: "{advice}",
  },
  AMBIGUOUS_SYMBOL: {
    why: "the target kernel has {count} symbols of this name ({candidates}) and nothing shows which one is meant",
    hint: "{advice}",
  },
  MISSING_SYMBOL: {
    why: "code of {object} cannot be linked against a symbol of this name: {reason}",
    hint: "{advice}",
  },
  NEW_UNIT: {
    why: "{problem}",
    hint: "{advice}",
  },
  NO_SUCH_FUNCTION: {
    why: "{object} has no function of this name",
    hint: "{advice}",
  },
  NEVER_STOPPED: {
    why: "{problem}",
    hint: "{advice}",
  },
  NO_ANSWER: {
    why: "{problem}",
    hint: "{advice}",
  },
  MAKEFILE: {
    why: "{problem}",
    hint: "a live patch can add objects to a directory; leave other changes of the Makefile out",
  },
} as const satisfies Record<string, RefusalText>;
export type RefusalCode = keyof typeof refusalTexts;

/**
 * Makes a refusal from its row in {@link refusalTexts}.
 * @param place the unit alone, or with what else is known.
 * @param values texts for the `{…}` places of the row; a missing one is a programming error.
 */
export function refuse(
  code: RefusalCode,
  what: string,
  place: string | RefusalPlace,
  values: Record<string, string> = {},
): Refusal {
  const {
    unit,
    object,
    function: name,
    detail,
  } = typeof place === "string" ? ({ unit: place } as RefusalPlace) : place;
  const where = detail === undefined ? unit : `${unit}: ${detail}`;
  const { why, hint, option } = fillTexts(code, refusalTexts[code], values);
  return {
    ...{ code, what, where, why },
    ...(unit === "" ? {} : { unit }),
    hint: option === undefined ? hint : `${hint}\n${optionText(option)}`,
    ...(object === undefined ? {} : { object }),
    ...(name === undefined ? {} : { function: name }),
    ...(option === undefined ? {} : { option }),
  };
}

/** An option as `kmend build` takes it, with its effect: the last line of a hint. */
function optionText({ name, value, effect }: AcceptingOption): string {
  return `--${name} ${value} ${effect}`;
}

/** The hint of a refusal for a program that words options in its own way. @param word the last line for the option, where there is one. */
export function hintIn({ hint, option }: Refusal, word: (option: AcceptingOption) => string): string {
  return option === undefined ? hint : `${hint.slice(0, hint.length - optionText(option).length)}${word(option)}`;
}

/** For programs that have no such option: the command that has it. */
export function optionOfBuild(option: AcceptingOption): string {
  return `kmend build ${optionText(option)}`;
}

/** Fills the `{…}` places of a row's texts. @param code names the row when a value is missing, which is a programming error. */
export function fillTexts(code: string, row: RefusalText, values: Record<string, string>): RefusalText {
  const fill = (text: string): string =>
    text.replace(/\{(\w+)\}/g, (_, key: string) => {
      const value = values[key];
      if (value === undefined) throw new Error(`refusal ${code} lacks the value of {${key}}`);
      return value;
    });
  const { option } = row;
  return {
    why: fill(row.why),
    hint: fill(row.hint),
    ...(option === undefined ? {} : { option: { ...option, value: fill(option.value) } }),
  };
}
