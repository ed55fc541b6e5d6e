import { errorNumberOf } from "./error-numbers.ts";
import type { ReturnType } from "./return-type.ts";
import type { Answer } from "./writer/machine-code.ts";

/** What a function is to return, with a text for people; or why that cannot be said. */
export type Chosen =
  | { readonly answer: Answer; readonly text: string }
  | { readonly problem: string; readonly hint: string };

const perm = { value: -1n, text: "-EPERM" } as const;

/**
 * Types of a number for which an error as `-EPERM` is what callers expect. Of others the name says that they are something else: bits, a count, a verdict.
 */
const errorTypes: ReadonlySet<string> = new Set(["int", "long", "long int", "ssize_t", "__kernel_ssize_t"]);

/**
 * The answer that the type of a function suggests: nothing, false, `-EPERM`, NULL.
 * A type that leaves it open needs a value.
 */
export function defaultAnswer(returns: ReturnType): Chosen {
  switch (returns.kind) {
    case "void":
      return { answer: { kind: "void" }, text: "nothing" };
    case "bool":
      return { answer: { kind: "value", value: 0n, bytes: 1 }, text: "false" };
    case "pointer":
      return { answer: { kind: "value", value: 0n, bytes: 8 }, text: "NULL" };
    case "integer":
      if (returns.signed && errorTypes.has(returns.text))
        return { answer: { kind: "value", value: perm.value, bytes: returns.bytes }, text: perm.text };
      return open(`it returns ${returns.text}, which is not always an error number`);
    case "enum":
      return open(`it returns ${returns.text}`, exampleOf(returns.names));
    case "other":
      return { problem: `it returns ${returns.text}, which is not in the register for results`, hint: otherHint };
  }
}

const otherHint = "stop the function that calls it";

function open(problem: string, example = "0"): Chosen {
  return {
    problem: `${problem}: what callers take for a failure is not known`,
    hint: `say it with --return, for example --return ${example}`,
  };
}

function exampleOf(names: ReadonlyMap<string, bigint>): string {
  return names.keys().next().value ?? "0";
}

/**
 * A value as it was given, checked against the type of the function: a number, `-EPERM` and the like, `NULL`, `ERR_PTR(-EPERM)`, `true`, `false`, or a name of
 * the function's enumeration.
 */
export function givenAnswer(text: string, returns: ReturnType): Chosen {
  const wanted = describedType(returns);
  const wrong = (problem: string, hint: string): Chosen => ({ problem: `${text} ${problem}`, hint });
  if (returns.kind === "void") return wrong("cannot be returned: the function returns nothing", "leave --return out");
  if (returns.kind === "other") return wrong(`cannot be returned: the function returns ${returns.text}`, otherHint);
  const made = (value: bigint, bytes: number): Chosen => ({ answer: { kind: "value", value, bytes }, text });
  if (returns.kind === "bool") {
    const value = { true: 1n, "1": 1n, false: 0n, "0": 0n }[text];
    return value === undefined ? wrong("is not a value of bool", "give true or false") : made(value, 1);
  }
  if (returns.kind === "pointer") {
    if (text === "NULL" || text === "0") return made(0n, 8);
    const error = errorNumber(/^ERR_PTR\((.+)\)$/.exec(text)?.[1] ?? "");
    return error === undefined
      ? wrong(`is not a value for ${returns.text}`, "give NULL, or an error as ERR_PTR(-EPERM)")
      : made(error, 8);
  }
  const named = returns.kind === "enum" ? returns.names.get(text) : undefined;
  const value = named ?? errorNumber(text) ?? plainNumber(text);
  if (value === undefined) {
    const hint = /^E[A-Z]+$/.test(text)
      ? `functions of the kernel return errors as negative numbers: -${text}`
      : "give a number such as 0 or -1, or the name of an error such as -EPERM";
    return wrong("is no number that is known", hint);
  }
  const { bytes, signed } = returns;
  const bits = bytes * 8;
  const fits = value === (signed ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value));
  return fits ? made(value, bytes) : wrong(`does not fit into ${wanted}`, "give a value of the function's own type");
}

function describedType(returns: ReturnType): string {
  if (returns.kind !== "integer" && returns.kind !== "enum") return "text" in returns ? returns.text : "void";
  return `${returns.text} (${returns.signed ? "signed" : "unsigned"}, ${returns.bytes * 8} bits)`;
}

function errorNumber(text: string): bigint | undefined {
  const name = /^-(E[A-Z0-9]+)$/.exec(text)?.[1];
  const number = name === undefined ? undefined : errorNumberOf(name);
  return number === undefined ? undefined : -BigInt(number);
}

function plainNumber(text: string): bigint | undefined {
  const match = /^(-?)(0x[0-9a-f]{1,16}|\d{1,20})$/i.exec(text);
  if (match === null) return undefined;
  const value = BigInt(match[2] as string);
  return match[1] === "-" ? -value : value;
}
