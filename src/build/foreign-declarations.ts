import { readFile } from "node:fs/promises";
import { btfMeaning, isSameMeaning } from "../diff/layout/btf-meaning.ts";
import { type Declared, declaredOutside } from "../diff/layout/declared.ts";
import { declaration } from "../diff/layout/type-text.ts";
import { ElfFormatError } from "../elf/format-error.ts";
import { ElfReader } from "../elf/reader.ts";
import type { Btf } from "../kernel/types/btf.ts";
import { BtfKind } from "../kernel/types/btf-format.ts";
import type { TargetObject } from "../match/target-object.ts";
import { accessProblem } from "../match/variable-accesses.ts";
import { sizeProblem } from "../match/variable-size.ts";
import { type Refusal, refuse } from "../refusals/refusals.ts";
import type { KernelTypes } from "./check-layouts.ts";
import type { ResolvedUnit } from "./resolve/plan.ts";
import { ownerOf, type Reach } from "./resolve/resolve.ts";

/** Where to look up what a unit declares. */
export interface DeclarationQuestion {
  readonly types: Pick<KernelTypes, "of">;
  open(object: string): Promise<TargetObject>;
  /** Names that `--allow-layout` accepts; `*` for all. */
  readonly allowed: readonly string[];
}

export interface DeclarationFindings {
  /** `DECLARED_DIFFERENTLY`. */
  readonly refusals: readonly Refusal[];
  readonly notes: readonly string[];
}

/**
 * Holds what the carried code reaches outside of its unit, as its source declares it, against the running kernel: functions against the kernel's own
 * type information, which has their prototypes; variables against the room that they have. It matters where source and kernel may differ: a header may
 * say that a function takes its arguments in another order, and code that calls it for the first time has nothing that would prove it.
 */
export async function checkDeclarations(
  resolved: readonly ResolvedUnit[],
  question: DeclarationQuestion,
): Promise<DeclarationFindings> {
  const refusals: Refusal[] = [];
  const notes: string[] = [];
  for (const { plan, reached } of resolved) {
    const { source, object, patchedPath } = plan.pair;
    const declared = readDeclared(await readFile(patchedPath));
    if (declared === undefined) {
      notes.push(
        `${source}: its debug information cannot be read: what it declares is not compared with the kernel's own`,
      );
      continue;
    }
    const unknown: string[] = [];
    const onlySized: string[] = [];
    for (const [name, reach] of reached) {
      const known = declared.get(name);
      const owner = ownerOf(reach);
      if (known === undefined || owner === undefined) continue;
      const isKnownToOriginal = plan.original.elf.symbols.some((symbol) => symbol.name === name);
      const target = await question.open(owner);
      const problem =
        kindProblem(name, known, target) ??
        (known.kind === "function"
          ? functionProblem(name, known, await question.types.of(owner), isKnownToOriginal)
          : variableProblem(name, known, reach, target, isKnownToOriginal));
      if (problem === "unknown") {
        if (!isKnownToOriginal) unknown.push(known.text);
      } else if (problem === "size only") onlySized.push(known.text);
      else if (problem !== undefined) {
        if (isAllowed(name, question)) notes.push(`${source}: ${name}: accepted as --allow-layout says: ${problem}`);
        else refusals.push(refuse("DECLARED_DIFFERENTLY", name, { unit: source, object }, { problem, name }));
      }
    }
    if (onlySized.length > 0)
      notes.push(
        `${source}: of these, the kernel shows the size and no more: ${onlySized.join("; ")}; see that its own source declares them so`,
      );
    if (unknown.length > 0)
      notes.push(
        `${source}: nothing in the kernel tells whether these are declared as its own source does: ${unknown.join("; ")}`,
      );
  }
  return { refusals, notes };
}

/** @returns undefined for debug information that cannot be read. */
function readDeclared(object: Uint8Array): ReadonlyMap<string, Declared> | undefined {
  try {
    return declaredOutside(new ElfReader(object));
  } catch (error) {
    if (error instanceof ElfFormatError) return undefined;
    throw error;
  }
}

/** Why the name cannot stand for a function, or a variable, at all. */
function kindProblem(name: string, { kind, text }: Declared, target: TargetObject): string | undefined {
  const sections = target.symbolsNamed(name).flatMap(({ address }) => target.sectionAt?.(address) ?? []);
  if (sections.length === 0) return undefined;
  const isCode = sections.some((section) => section.includes("text"));
  if (isCode === (kind === "function")) return undefined;
  return `the source declares \`${text}\`, and the kernel has ${isCode ? "a function" : "a variable"} of that name, in ${sections[0]}`;
}

/**
 * @param isInUse by the unit as the kernel has it.
 * @returns `unknown` where the kernel has no prototype of that name.
 */
function functionProblem(
  name: string,
  { meaning, text }: Declared,
  types: Btf | undefined,
  isInUse: boolean,
): string | undefined {
  // A tracepoint is called through a static call of the type of its first probe's caller (include/linux/tracepoint.h).
  const known = types?.find(BtfKind.func, name.replace(/^__SCT__tp_func_/, "__traceiter_")) ?? [];
  if (types === undefined || known.length === 0) return "unknown";
  const meanings = known.map((type) => btfMeaning(types, type));
  if (meanings.some((each) => isSameMeaning(each, meaning))) return undefined;
  // So the assembler describes all of its functions.
  if (isInUse && meanings.includes("()void")) return "unknown";
  const own = declaration(types, types.target(known[0] as number), name);
  return `the source declares \`${text}\`, and the kernel has \`${own}\``;
}

function variableProblem(
  name: string,
  known: Declared,
  reach: Reach,
  target: TargetObject,
  isInUse: boolean,
): string | undefined {
  const { size, text, meaning } = known;
  const [symbol, ...others] = target.symbolsNamed(name);
  if (symbol === undefined || others.length > 0 || (reach.by === "klp" && reach.symbol.name !== name)) return "unknown";
  if (size === undefined) return "unknown";
  // The array at the end of a struct may have got a length with its initial content.
  const problem = sizeProblem(size, symbol.address, target, /^(struct|union)/.test(meaning));
  if (problem !== undefined) return `the source declares \`${text}\`: ${problem}`;
  if (/^struct static_key_(true|false)$/.test(meaning)) return keyProblem(known, symbol.address, target);
  if (isInUse || !isScalar(meaning)) return "unknown";
  const accesses = target.accessesOf?.(symbol.address);
  const found = accesses === undefined ? undefined : accessProblem(size, accesses);
  // A pointer may lead to something else, and a number of its size may be one.
  if (found === "known") return size === 8 ? "size only" : undefined;
  return found === undefined ? "unknown" : `the source declares \`${text}\`: ${found}`;
}

/** Offset of the word of a static key whose lowest bit tells its initial branch (struct static_key, include/linux/jump_label.h), behind its counter. */
const keyTypeOffset = 8;

/** Code compiled for a key that is true at first has its branch the other way round. */
function keyProblem({ text, meaning }: Declared, address: number, target: TargetObject): string | undefined {
  const [byte] = target.bytesAt(address + keyTypeOffset, 1) ?? [];
  const isZero = target.isZeroAt?.(address, keyTypeOffset + 1) === true;
  const place = target.valueAt(address + keyTypeOffset, 8, false);
  const low = place?.kind === "absolute" ? place.value : place?.kind === "address" ? place.address : byte;
  if (low === undefined && !isZero) return "unknown";
  const isTrue = !isZero && ((low ?? 0) & 1) === 1;
  if (isTrue === meaning.endsWith("true")) return undefined;
  return `the source declares \`${text}\`, and the kernel's key is ${isTrue ? "true" : "false"} at first`;
}

/** True for what one instruction reads and writes as a whole. */
function isScalar(meaning: string): boolean {
  return meaning.startsWith("*") || /^(u?int|bool|enum)\d+$/.test(meaning);
}

function isAllowed(name: string, { allowed }: DeclarationQuestion): boolean {
  return allowed.includes("*") || allowed.includes(name) || allowed.includes(`${name}()`);
}
