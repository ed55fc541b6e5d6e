import type { ShippedModules } from "../kernel/modules/shipped-module.ts";
import type { Btf } from "../kernel/types/btf.ts";
import { type Refusal, refuse } from "../refusals/refusals.ts";
import { type Chosen, defaultAnswer, givenAnswer } from "./answers.ts";
import type { DirectCall } from "./direct-callers.ts";
import { hasErrorPointers } from "./error-pointers.ts";
import type { NamedSymbol, StopKernel } from "./kernel-parts.ts";
import { type ModulePart, modulePart } from "./module-part.ts";
import { isSystemCall, neverStoppedBecause } from "./never-stopped.ts";
import { isNotifier, neverStoppedForTypes } from "./never-stopped-types.ts";
import type { WantedFunction } from "./request.ts";
import { type Prototype, prototypesOf, type ReturnType } from "./return-type.ts";
import type { StoppedFunction } from "./writer/write-module.ts";

/** A function that can be stopped, and what is known about that. */
export interface ChosenFunction extends StoppedFunction {
  /** What it returns, as C would write it. */
  readonly type: string;
  /** What callers get from now on. */
  readonly returns: string;
  /** What somebody has to think about, a sentence each. */
  readonly warnings: readonly string[];
}

/** The functions that can be stopped, and the reasons for all others. */
export interface ChosenFunctions {
  readonly functions: readonly ChosenFunction[];
  readonly refusals: readonly Refusal[];
}

/** Where functions are looked for. */
export interface ObjectPart {
  readonly name: string;
  readonly symbolsNamed: (name: string) => readonly NamedSymbol[];
  readonly isInitCode: (name: string) => boolean;
  readonly types: Btf | undefined;
}

/**
 * Finds the functions and what they return, and refuses each that cannot or must not be stopped.
 * All refusals of a run are reported.
 */
export async function chooseFunctions(
  kernel: StopKernel,
  modules: ShippedModules,
  wanted: readonly WantedFunction[],
  signal?: AbortSignal,
): Promise<ChosenFunctions> {
  const functions: ChosenFunction[] = [];
  const refusals: Refusal[] = [];
  for (const one of wanted) {
    const part = await objectPart(kernel, modules, one, signal);
    const chosen = "code" in part ? part : chooseFunction(part, one);
    if ("code" in chosen) refusals.push(chosen);
    else if (functions.some((other) => isSame(other, chosen))) {
      refusals.push(
        refuse("NO_ANSWER", one.name, place(one), { problem: "it is named twice", advice: "name it once" }),
      );
    } else functions.push(chosen);
  }
  return { functions, refusals };
}

function isSame(a: StoppedFunction, b: StoppedFunction): boolean {
  return a.name === b.name && a.object === b.object && a.sympos === b.sympos;
}

function place({ name, object = "vmlinux" }: WantedFunction): {
  readonly unit: string;
  readonly object: string;
  readonly function: string;
} {
  return { unit: object, object, function: name };
}

async function objectPart(
  kernel: StopKernel,
  modules: ShippedModules,
  wanted: WantedFunction,
  signal: AbortSignal | undefined,
): Promise<ObjectPart | Refusal> {
  const { object, name } = wanted;
  if (object === undefined || object === "vmlinux") {
    return {
      name: "vmlinux",
      symbolsNamed: (symbol) => kernel.symbolsNamed(symbol),
      isInitCode: () => false,
      types: kernel.types,
    };
  }
  const part: ModulePart | undefined = await modulePart(modules, object, kernel.types, signal);
  if (part !== undefined) return { name: object, ...part };
  const builtIn = modules.isBuiltin(object);
  return refuse("NO_SUCH_FUNCTION", name, place(wanted), {
    object: builtIn
      ? `the kernel has ${object} built in, so a module of that name`
      : `the kernel ships no module ${object}, which`,
    advice: builtIn ? "leave --object out" : "name a module that modinfo(8) knows",
  });
}

/** One function: found, of a known type, allowed, and with an answer; or the first reason why not. */
function chooseFunction(part: ObjectPart, wanted: WantedFunction): ChosenFunction | Refusal {
  const { name } = wanted;
  const where = place(wanted);
  const all = part.symbolsNamed(name);
  const code = all.filter(({ type }) => /^[tTwW]$/.test(type));
  if (code.length === 0) return unknownFunction(part, wanted);
  const symbol = all[(wanted.sympos ?? 1) - 1];
  if (wanted.sympos === undefined && all.length > 1) return ambiguous(all, wanted);
  if (symbol === undefined || !code.includes(symbol)) {
    const advice = `--sympos takes a number from 1 to ${all.length}`;
    const problem = `${all.length} symbols have this name, and none of them that is a function is number ${wanted.sympos}`;
    return refuse("NO_ANSWER", name, where, { problem, advice });
  }
  const piece = /\.(part|cold)(\.\d+)?$/.exec(name);
  if (piece !== null) {
    const problem = `it is a piece that the compiler cut out of ${name.slice(0, piece.index)}, whose other parts would go on`;
    return refuse("NEVER_STOPPED", name, where, { problem, advice: `stop ${name.slice(0, piece.index)} instead` });
  }
  const plain = name.replace(/\.(isra|constprop|llvm)\..*$/, "");
  const prototypes = part.types === undefined ? [] : prototypesOf(part.types, plain);
  const returns = prototypes.length === 1 ? prototypes[0]?.returns : undefined;
  const forbidden = neverStoppedBecause(name, returns) ?? forbiddenByTypes(name, prototypes);
  if (forbidden !== undefined) {
    const advice =
      "stop an entry point above it: a system call, an ioctl, an operation of a file system or protocol (kmend stop --suggest)";
    return refuse("NEVER_STOPPED", name, where, { problem: forbidden, advice });
  }
  if (symbol.traceable === false) {
    const advice = "stop the functions that call it";
    return refuse("NOT_TRACEABLE", name, where, { reason: "; or its code was freed after boot", advice });
  }
  if (symbol.traceable === undefined) {
    const problem =
      "several functions have this name, and the running kernel does not tell which of them ftrace can redirect";
    return refuse("NO_ANSWER", name, where, {
      problem,
      advice: "make the module from the kernel's packages: --kernel RELEASE",
    });
  }
  if (prototypes.some(({ variadic }) => variadic)) {
    const problem = "it takes any number of arguments, so what it is for differs from call to call";
    return refuse("NEVER_STOPPED", name, where, { problem, advice: "stop the functions that call it" });
  }
  const trusting = returns?.kind === "pointer" || returns?.kind === "integer" ? callersThatUse(symbol, "address") : [];
  const taken = `${nameSome(trusting)} takes what it returns for an`;
  if (trusting.length > 0 && returns?.kind === "pointer") {
    const problem = `${taken} address without a check, and would crash`;
    return refuse("NEVER_STOPPED", name, where, { problem, advice: "stop the functions that call it" });
  }
  if (trusting.length > 0 && wanted.returns === undefined) {
    const problem = `${taken} index or address without a check`;
    return refuse("NO_ANSWER", name, where, { problem, advice: "say with --return which value they can take" });
  }
  const chosen = answerOf(prototypes, wanted, symbol, all.length);
  if ("problem" in chosen) return refuse("NO_ANSWER", name, where, { problem: chosen.problem, advice: chosen.hint });
  return {
    ...{ name, object: part.name, sympos: all.length === 1 ? 0 : (wanted.sympos ?? 0), answer: chosen.answer },
    ...{ type: typeText(returns), returns: chosen.text },
    warnings: [...warningsOf(part, wanted, returns), ...callWarnings(symbol, returns)],
  };
}

/** The parameters of a system call are the registers of the program, which say nothing. */
function forbiddenByTypes(name: string, prototypes: readonly Prototype[]): string | undefined {
  if (isSystemCall(name)) return undefined;
  return prototypes.map(neverStoppedForTypes).find((why) => why !== undefined);
}

function unknownFunction(part: ObjectPart, wanted: WantedFunction): Refusal {
  const { name } = wanted;
  if (part.isInitCode(name)) return refuse("INIT_CODE", name, place(wanted), { section: ".init.text" });
  const copies = ["isra.0", "constprop.0"]
    .map((end) => `${name}.${end}`)
    .filter((copy) => part.symbolsNamed(copy).length > 0);
  const system = [`__x64_sys_${name}`, `__x64_${name}`].filter((call) => part.symbolsNamed(call).length > 0);
  const near = [...copies, ...system];
  const advice =
    near.length > 0
      ? `there is ${near.join(", ")}`
      : part.name === "vmlinux"
        ? "take the name from /proc/kallsyms; of a function in a module, name the module with --object"
        : "take the name from /proc/kallsyms";
  return refuse("NO_SUCH_FUNCTION", name, place(wanted), {
    object: part.name === "vmlinux" ? "the kernel itself" : `the module ${part.name}`,
    advice: `${advice}; the compiler may have put it into its callers`,
  });
}

function ambiguous(all: readonly NamedSymbol[], wanted: WantedFunction): Refusal {
  const candidates = all.map(({ after }, at) => `${at + 1} behind ${after || "nothing"}`).join(", ");
  return refuse("AMBIGUOUS_SYMBOL", wanted.name, place(wanted), {
    ...{ count: String(all.length), candidates },
    advice: `say which one with --sympos N, or as ${wanted.name},N`,
  });
}

/** The type of several functions of one name may be that of another one. */
function answerOf(
  prototypes: readonly Prototype[],
  { returns: value }: WantedFunction,
  symbol: NamedSymbol,
  namesakes: number,
): Chosen {
  const { code } = symbol;
  const [first, ...others] = prototypes;
  if (first === undefined) {
    return {
      problem: "the kernel's types do not have it, so what it returns is not known",
      hint: "stop a function that calls it, whose type is known",
    };
  }
  if (others.length > 0) {
    return {
      problem: `the kernel's types have ${prototypes.length} functions of this name, which return different things`,
      hint: "stop a function that calls it, whose type is known",
    };
  }
  if (value !== undefined) return givenAnswer(value, first.returns);
  if (namesakes > 1) {
    return {
      problem: `${namesakes} symbols have this name, and the kernel's types do not say whose type is known`,
      hint: "say with --return what it is to return",
    };
  }
  if (isNotifier(first)) {
    return {
      problem: "it is called by a notifier chain, which would end at an error number, so that others are not called",
      hint: "say with --return what it is to return: 0 is NOTIFY_DONE",
    };
  }
  const [looking] = first.returns.kind === "pointer" ? callersThatUse(symbol, "error") : [];
  if (looking !== undefined || (first.returns.kind === "pointer" && code !== undefined && hasErrorPointers(code))) {
    const seen = looking === undefined ? "" : `, for which ${looking} looks`;
    return {
      problem: `it returns error pointers${seen}, and its callers would take NULL for a result`,
      hint: "say it with --return, for example --return 'ERR_PTR(-EPERM)'",
    };
  }
  return defaultAnswer(first.returns);
}

function typeText(returns: ReturnType | undefined): string {
  if (returns === undefined) return "unknown";
  return "text" in returns ? returns.text : "void";
}

/** How many callers are named. */
const namedCallers = 4;

/** Callers of which this is the first use of the result. */
function callersThatUse({ calls }: NamedSymbol, use: DirectCall["firstUse"]): readonly string[] {
  return [...new Set((calls?.() ?? []).filter(({ firstUse }) => firstUse === use).map(({ from }) => from))];
}

function nameSome(names: readonly string[]): string {
  const more = names.length > namedCallers ? ` and ${names.length - namedCallers} more` : "";
  return `${names.slice(0, namedCallers).join(", ")}${more}`;
}

/** Who calls the function, where that is known. */
function callWarnings({ calls }: NamedSymbol, returns: ReturnType | undefined): string[] {
  if (calls === undefined) return [];
  const found = calls();
  if (found.length === 0) return ["nothing calls it directly: it is reached through pointers, or not at all"];
  const names = [...new Set(found.map(({ from }) => from))];
  const warnings = [`it is called by ${nameSome(names)}`];
  const unseen = [...new Set(found.filter(({ looksAtResult }) => !looksAtResult).map(({ from }) => from))];
  if (returns?.kind !== "void" && unseen.length > 0)
    warnings.push(`these are not seen to look at its result: ${nameSome(unseen)}`);
  return warnings;
}

/** What the object itself tells about the effect. */
function warningsOf(part: ObjectPart, wanted: WantedFunction, returns: ReturnType | undefined): string[] {
  const { name } = wanted;
  const warnings: string[] = [];
  if (returns?.kind === "pointer" && wanted.returns === undefined)
    warnings.push(
      "callers that look for an error pointer take NULL for a result and crash: if it returns such, give --return 'ERR_PTR(-EPERM)'",
    );
  const plain = name.replace(/\.(isra|constprop)\..*$/, "");
  const has = (symbol: string): boolean => symbol !== name && part.symbolsNamed(symbol).length > 0;
  if (returns?.kind === "bool" && wanted.returns === undefined)
    warnings.push("callers get false: look whether that forbids something to them, or allows it");
  if (returns?.kind === "void") warnings.push("it returns nothing: its callers go on as if it had done its work");
  if (isSystemCall(name)) warnings.push("it is a system call: every program that uses it gets the error");
  const copies = [plain, `${plain}.isra.0`, `${plain}.constprop.0`, `${plain}.part.0`].filter(has);
  if (copies.length > 0) warnings.push(`the compiler made more of it, and these are not stopped: ${copies.join(", ")}`);
  if (has(`__ksymtab_${name}`)) warnings.push("it is exported: modules that call it get the answer too");
  if (part.symbolsNamed(name).every(({ type }) => type === "t"))
    warnings.push(
      "it is a function of one file: calls that the compiler put into other functions of that file are not stopped",
    );
  return warnings;
}
