import { type SourceFunction, sourceFunctions } from "../../src/change/source-functions.ts";
import { maskedCode } from "./masked.ts";

/** What a mutation changes. */
export type MutationKind =
  | "constant"
  | "comparison"
  | "operator"
  | "condition"
  | "call removed"
  | "call replaced"
  | "error code"
  | "flag"
  | "barrier"
  | "static key"
  | "text"
  | "member"
  | "initialiser"
  | "struct";

/** One small change of a C text. No line is added or removed. */
export interface Mutation {
  readonly kind: MutationKind;
  /** Function, variable or struct tag that it is in. */
  readonly home: string;
  /** Line, from 1. */
  readonly line: number;
  readonly before: string;
  readonly after: string;
  /** The whole text with the change. */
  readonly text: string;
}

interface Rule {
  readonly kind: MutationKind;
  /** Matched against code without comments and strings. */
  readonly pattern: RegExp;
  /** What stands in the place of the match; undefined leaves it. */
  readonly change: (match: RegExpMatchArray, names: Names) => string | undefined;
}

/** Names that a text uses, from which others of their kind are chosen. */
interface Names {
  readonly keys: readonly string[];
  readonly members: readonly string[];
  readonly functions: readonly string[];
}

const comparisons: Readonly<Record<string, string>> = {
  "==": "!=",
  "!=": "==",
  "<": "<=",
  "<=": "<",
  ">": ">=",
  ">=": ">",
};

/** Calls that compile in each other's place and do something else. */
const siblings: Readonly<Record<string, string>> = {
  kfree: "kvfree",
  kvfree: "kfree",
  list_add: "list_add_tail",
  list_add_tail: "list_add",
  memcpy: "memmove",
  kmalloc: "kzalloc",
  kzalloc: "kmalloc",
  spin_lock: "spin_lock_bh",
  spin_unlock: "spin_unlock_bh",
  rcu_read_lock: "rcu_read_lock_bh",
  atomic_inc: "atomic_dec",
  atomic_dec: "atomic_inc",
  wake_up: "wake_up_all",
  dput: "d_drop",
  set_bit: "clear_bit",
  clear_bit: "set_bit",
  test_bit: "test_and_set_bit",
  mutex_lock: "mutex_unlock",
  WARN_ON: "WARN_ON_ONCE",
  WARN_ON_ONCE: "WARN_ON",
  BUG_ON: "WARN_ON",
  pr_err: "pr_warn",
  pr_warn: "pr_err",
  pr_info: "pr_err",
  likely: "unlikely",
  unlikely: "likely",
  min: "max",
  max: "min",
};

const flags: Readonly<Record<string, string>> = {
  GFP_KERNEL: "GFP_ATOMIC",
  GFP_ATOMIC: "GFP_KERNEL",
  TASK_INTERRUPTIBLE: "TASK_UNINTERRUPTIBLE",
  TASK_UNINTERRUPTIBLE: "TASK_INTERRUPTIBLE",
  PAGE_SIZE: "(PAGE_SIZE * 2)",
  true: "false",
  false: "true",
};

const keywords = /^(if|while|for|switch|return|sizeof|else|do|case|goto|typeof|asm|defined)$/;

/** Changes inside of functions. */
const rules: readonly Rule[] = [
  {
    kind: "constant",
    pattern: /(?<![\w.])(0x[0-9a-fA-F]+|\d+)(?=[uUlL]*\b)(?![\w.]*:)/g,
    change: ([number]) => `${Number(number) + 1}`,
  },
  { kind: "comparison", pattern: /(?<=[\w)\]] )(==|!=|<=|>=|<|>)(?= )/g, change: ([sign]) => comparisons[sign] },
  { kind: "operator", pattern: /(?<=[\w)\]] )([+\-|&])(?= )/g, change: ([sign]) => (sign === "+" ? "-" : "+") },
  { kind: "condition", pattern: /&&|\|\|/g, change: ([sign]) => (sign === "&&" ? "||" : "&&") },
  { kind: "condition", pattern: /\bif \(!/g, change: () => "if (" },
  {
    kind: "call removed",
    pattern: /(?<=\n\t+)([a-z_]\w*)\([^;{}\n]*\);(?=\n)/g,
    change: ([, name]) => (keywords.test(name as string) ? undefined : ";"),
  },
  {
    kind: "call replaced",
    pattern: /\b([A-Za-z_]\w*)(?=\()/g,
    change: ([name]) => (Object.hasOwn(siblings, name) ? siblings[name] : undefined),
  },
  {
    kind: "error code",
    pattern: /-E[A-Z]{3,}\b/g,
    change: ([code]) => (code === "-EIO" ? "-EINVAL" : "-EIO"),
  },
  {
    kind: "flag",
    pattern: /\b[A-Za-z]\w*\b/g,
    change: ([name]) => (Object.hasOwn(flags, name) ? flags[name] : undefined),
  },
  {
    kind: "barrier",
    pattern: /\b(smp_mb|smp_rmb|smp_wmb|mb|rmb|wmb|barrier|barrier_nospec|smp_mb__\w+|stac|clac)\(\)/g,
    change: () => "do { } while (0)",
  },
  {
    kind: "barrier",
    pattern: /\barray_index_nospec\((\w[\w>.-]*), [^;]*?\)(?=;)/g,
    change: ([, index]) => `(${index})`,
  },
  { kind: "barrier", pattern: /\bsmp_store_release\(/g, change: () => "WRITE_ONCE(" },
  { kind: "barrier", pattern: /\bsmp_load_acquire\(/g, change: () => "*(" },
  {
    kind: "static key",
    pattern: /\bstatic_branch_(likely|unlikely)\(&(\w+)\)/g,
    change: ([, way, key], { keys }) => {
      const other = keys.find((name) => name !== key);
      return other === undefined
        ? `static_branch_${way === "likely" ? "unlikely" : "likely"}(&${key})`
        : `static_branch_${way}(&${other})`;
    },
  },
  {
    kind: "member",
    pattern: /(?<=->)[a-z_]\w*\b(?!\s*\()/g,
    change: ([name], { members }) => members.find((other) => other !== name && other[0] === name[0]),
  },
];

/** Letters of strings; matched against the text itself, where the masked one has a string. */
const stringPattern = /"[ ]*"/g;

const initialiserRules: readonly Rule[] = [
  {
    kind: "initialiser",
    pattern: /(?<=\.\w+\s*=\s*)([a-z_]\w+)(?=,?\n)/g,
    change: ([name], { functions }) =>
      functions.find((other) => other !== name && other.split("_")[0] === name.split("_")[0]) ?? "NULL",
  },
  {
    kind: "initialiser",
    pattern: /(?<==\s*|[{,]\s*)(0x[0-9a-fA-F]+|\d+)(?=[uUlL]*\s*[,;}\n])/g,
    change: ([number]) => `${Number(number) + 1}`,
  },
];

/** All small changes that {@link Mutation} knows of a C file, in the order of the text. */
export function mutationsOf(text: string): Mutation[] {
  const code = maskedCode(text);
  const lineStarts = startsOfLines(text);
  const functions = sourceFunctions(code);
  const names: Names = {
    keys: [...new Set([...code.matchAll(/static_branch_(?:un)?likely\(&(\w+)\)/g)].map(([, key]) => key as string))],
    members: [...new Set([...code.matchAll(/->([a-z_]\w*)\b(?!\s*\()/g)].map(([, member]) => member as string))],
    functions: functions.map(({ name }) => name),
  };
  const found: Mutation[] = [];
  const add = (kind: MutationKind, home: string, at: number, before: string, after: string): void => {
    const line = lineStarts.findLastIndex((start) => start <= at) + 1;
    found.push({ kind, home, line, before, after, text: text.slice(0, at) + after + text.slice(at + before.length) });
  };
  const apply = (rule: Rule, home: string, from: number, to: number): void => {
    for (const match of code.slice(from, to).matchAll(rule.pattern)) {
      const after = rule.change(match, names);
      if (after !== undefined && after !== match[0]) add(rule.kind, home, from + match.index, match[0], after);
    }
  };
  for (const { name, first, last } of functions) {
    const [from, to] = bodyOf(code, lineStarts, first, last);
    for (const rule of rules) apply(rule, name, from, to);
    for (const match of code.slice(from, to).matchAll(stringPattern)) {
      const at = from + match.index;
      const letter = /[a-z]/.exec(text.slice(at + 1, at + match[0].length - 1));
      if (letter !== null && text[at + letter.index] !== "\\" && text[at + letter.index] !== "%")
        add("text", name, at + 1 + letter.index, letter[0], letter[0] === "q" ? "x" : "q");
    }
  }
  for (const { name, from, to } of dataOf(code)) for (const rule of initialiserRules) apply(rule, name, from, to);
  for (const match of code.matchAll(/^(?:static )?struct (\w+) \{(?=\n)/gm))
    add("struct", match[1] as string, match.index, match[0], `${match[0]} long kmend_mutant;`);
  return found.sort((a, b) => a.line - b.line);
}

/** Offsets behind the brace that opens a function's body, and of the one that closes it. */
function bodyOf(code: string, lineStarts: readonly number[], first: number, last: number): [number, number] {
  const start = lineStarts[first - 1] ?? 0;
  const end = lineStarts[last - 1] ?? code.length;
  return [code.indexOf("{", start) + 1, end];
}

/** Variables with an initialiser at the top level, written the kernel's way. */
function dataOf(code: string): { name: string; from: number; to: number }[] {
  return [
    ...code.matchAll(
      /^(?:static |const |struct |unsigned |int |long |bool |char |u\d+ )[^(){};\n]*?\b(\w+)(?:\[[^\]\n]*\])*(?: __\w+)* =[^;]*;/gm,
    ),
  ].map((match) => ({
    name: match[1] as string,
    from: match.index + match[0].indexOf("="),
    to: match.index + match[0].length,
  }));
}

function startsOfLines(text: string): number[] {
  const starts = [0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return starts;
}

/** Functions that a patch can change so that it matters: they are in memory after boot and have an entry of their own. */
export function patchable(functions: readonly SourceFunction[]): SourceFunction[] {
  return functions.filter(({ text }) => {
    const head = text.slice(0, text.indexOf("{"));
    return !/__init\b|__exit\b|\binline\b|__always_inline|noinstr|notrace|__cpuidle|\bnoinline_for_stack\b/.test(head);
  });
}
