import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { ElfReader } from "../elf/reader.ts";
import { Btf } from "../kernel/types/btf.ts";
import { type Refusal, refuse } from "../refusals/refusals.ts";
import { KmendError } from "../support/errors.ts";
import { enumChange, movedConstants, unnamedEnumerators } from "./layout/enum-change.ts";
import { isSameNumber, numberText } from "./layout/numbers.ts";
import { movedParameters, prototypeChange } from "./layout/prototype-change.ts";
import { TypePairs, wordOf } from "./layout/same-types.ts";
import { sharedFunctions } from "./layout/shared-function.ts";
import { type FilledPadding, structChange, type TypeChange } from "./layout/struct-change.ts";
import { findDefinitions, findNumbers, type TypeTable, tableOfTypes, unnamedEnumsOf } from "./layout/type-table.ts";
import { usersOf } from "./layout/type-users.ts";
import { encodeUnitTypes } from "./layout/unit-btf.ts";
import { changedDeclarations, type DeclarationChanges, type VariableChange } from "./layout/variable-change.ts";

/** The two builds of a unit, and what is known about the kernel's types. */
export interface LayoutQuestion {
  /** Paths of compiled units with debug information. */
  readonly originalObject: string;
  readonly patchedObject: string;
  /** Where files may be for a while; by default the patched object's own folder. */
  readonly folder?: string | undefined;
  /** Source path of the unit, for messages. */
  readonly unit: string;
  /** Types of the kernel or module that the unit belongs to; without them, types that only the patched unit has count as new. */
  readonly target?: Btf | undefined;
  /** Types and functions whose change the user accepts: with or without `struct`, `union` or `enum`; `*` for all. */
  readonly allowed: readonly string[];
  /** Tags that the patch itself defines; equal names elsewhere in the kernel are other types. */
  readonly introduced?: ReadonlySet<string> | undefined;
  /** Tags of which the source has pointers, sizes or casts: not all of their objects are seen to end with a call. */
  readonly reached?: Pick<ReadonlySet<string>, "has"> | undefined;
  /** Advice for a type that only functions know, where the source does not say what becomes of its objects. */
  readonly adviceForLocal?: ((title: string) => string) | undefined;
  /** Tags whose definition the patch takes out. */
  readonly removed?: ReadonlySet<string> | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface LayoutFindings {
  /** `LAYOUT_CHANGED`, `LAYOUT_UNKNOWN`. */
  readonly refusals: readonly Refusal[];
  /** Equal for refusals of several units that tell of the same change, whichever functions of the units use it. */
  readonly subjects?: ReadonlyMap<Refusal, string>;
  /** By what a refusal is about: the new members, where they are all that is different and lie in padding. */
  readonly filled?: ReadonlyMap<string, readonly FilledPadding[]>;
  readonly notes: readonly string[];
}

/**
 * Finds types that live objects or unpatched code share and that the patch changes: structs, unions, enums, and the prototypes of functions that code
 * outside of the unit can call. What only the patched unit has is new, unless the kernel has it too and differently.
 * @throws KmendError `BTF_FORMAT` for a kernel's damaged types, `PROGRAM_MISSING` without pahole.
 */
export async function checkLayouts(question: LayoutQuestion): Promise<LayoutFindings> {
  const { originalObject, patchedObject, unit, allowed, signal } = question;
  const folder = question.folder ?? dirname(patchedObject);
  const encoded = await Promise.all(
    [originalObject, patchedObject].map((path) => encodeUnitTypes(path, folder, signal).catch(unknownTypes)),
  );
  const [original, patched] = encoded;
  if (!(original instanceof Uint8Array) || !(patched instanceof Uint8Array)) {
    const problem = encoded.find((each) => each instanceof KmendError);
    if (allowed.includes("*")) return { refusals: [], notes: [`${unit}: its types could not be compared`] };
    return { refusals: [refuse("LAYOUT_UNKNOWN", unit, unit, { problem: problem?.why ?? "" })], notes: [] };
  }
  const declarations = await compareDeclarations(question);
  const variables = variableFindings(declarations?.variables, question);
  if (Buffer.compare(original, patched) === 0) return variables;
  const comparison = new UnitComparison(
    question,
    new Btf(original, originalObject),
    new Btf(patched, patchedObject),
    declarations?.localTypes ?? new Set(),
  );
  await comparison.run();
  return {
    refusals: [...comparison.refusals, ...variables.refusals],
    ...(comparison.subjects.size > 0 ? { subjects: comparison.subjects } : {}),
    ...(comparison.filled.size > 0 ? { filled: comparison.filled } : {}),
    notes: [...comparison.notes, ...variables.notes],
  };
}

async function compareDeclarations({
  originalObject,
  patchedObject,
}: LayoutQuestion): Promise<DeclarationChanges | undefined> {
  const [original, patched] = await Promise.all([originalObject, patchedObject].map((path) => readFile(path)));
  return changedDeclarations(new ElfReader(original as Buffer), new ElfReader(patched as Buffer));
}

/** @param changes undefined when they are not known. */
function variableFindings(
  changes: readonly VariableChange[] | undefined,
  { unit, allowed }: LayoutQuestion,
): LayoutFindings {
  const refusals: Refusal[] = [];
  const notes: string[] = [];
  if (changes === undefined && !allowed.includes("*"))
    refusals.push(refuse("LAYOUT_UNKNOWN", unit, unit, { problem: "the types of its variables cannot be read" }));
  for (const { name, problem } of changes ?? []) {
    const advice = `leave ${name} as it is, and keep the new value in a variable of another name`;
    if (allowed.includes("*") || allowed.includes(name))
      notes.push(`${unit}: ${name}: accepted as --allow-layout says: ${problem}`);
    else refusals.push(refuse("LAYOUT_CHANGED", name, unit, { problem, advice, name }));
  }
  return { refusals, notes };
}

function unknownTypes(error: unknown): KmendError {
  if (error instanceof KmendError && error.code === "UNIT_WITHOUT_TYPES") return error;
  throw error;
}

const unitTitles = ["the kernel", "with the patch"] as const;

/** A changed type before it is decided whether it is reported on its own. */
interface Finding {
  readonly title: string;
  /** Of a changed prototype. */
  readonly function?: string | undefined;
  readonly change: TypeChange;
  readonly advice: string;
}

class UnitComparison implements LayoutFindings {
  readonly refusals: Refusal[] = [];
  readonly subjects = new Map<Refusal, string>();
  readonly filled = new Map<string, readonly FilledPadding[]>();
  readonly notes: string[] = [];
  readonly #question: LayoutQuestion;
  readonly #types: TypePairs;
  readonly #original: TypeTable;
  readonly #patched: TypeTable;
  readonly #findings: Finding[] = [];
  readonly #localTypes: ReadonlySet<string>;

  /** @param localTypes that only functions know, and no variable keeps. */
  constructor(question: LayoutQuestion, original: Btf, patched: Btf, localTypes: ReadonlySet<string>) {
    this.#question = question;
    this.#localTypes = localTypes;
    this.#types = new TypePairs(original, patched);
    this.#original = tableOfTypes(original);
    this.#patched = tableOfTypes(patched);
  }

  async run(): Promise<void> {
    for (const [title, types] of this.#patched.definitions) {
      const known = this.#original.definitions.get(title);
      if (known === undefined) this.#newDefinition(title, types);
      else this.#definition(title, known, types);
    }
    this.#removedDefinitions();
    this.#unnamedEnums();
    this.#numbers();
    await this.#functions();
    this.#report();
  }

  #definition(title: string, known: readonly number[], types: readonly number[]): void {
    for (const type of types) {
      if (known.some((old) => this.#types.sameDefinition(old, type))) continue;
      this.#add(title, definitionChange(this.#types, known[0] as number, type, unitTitles));
    }
  }

  /**
   * The unit did not use it before. If the kernel has it elsewhere, it has to be the same there, unless the patch itself makes a type of this name and
   * no object of the other one can reach the unit, which did not even know that there is one.
   */
  #newDefinition(title: string, types: readonly number[]): void {
    const { target, introduced, unit } = this.#question;
    if (target === undefined) return;
    const known = findDefinitions(target, title);
    const pairs = new TypePairs(target, this.#types.b);
    for (const type of types) {
      if (known.length === 0 || known.some((old) => pairs.sameDefinition(old, type))) continue;
      if (introduced?.has(plainName(title)) && !this.#original.declared.has(title))
        this.notes.push(
          `${unit}: ${title} is new here; the kernel has another type of that name, which this one is not`,
        );
      else this.#add(title, definitionChange(pairs, known[0] as number, type, unitTitles));
    }
  }

  /** A type that goes may come back under another name and in another form, while live objects still have the old one. */
  #removedDefinitions(): void {
    for (const [title, [type]] of this.#original.definitions) {
      if (type === undefined || this.#patched.definitions.has(title) || title.startsWith("enum ")) continue;
      const isNowElse = kinds.some((kind) => this.#patched.definitions.has(`${kind}${plainName(title)}`));
      if (!isNowElse && this.#question.removed?.has(plainName(title)) !== true) continue;
      const problem = "its definition is gone with the patch, and live objects of it are not";
      this.#add(title, { problems: [problem], remarks: [], layouts: [], movedBy: [] });
    }
  }

  #unnamedEnums(): void {
    const { a, b } = this.#types;
    const known = unnamedEnumerators(a, this.#original.unnamedEnums);
    const { target } = this.#question;
    let inKernel: ReturnType<typeof unnamedEnumerators> | undefined;
    for (const type of this.#patched.unnamedEnums) {
      const enumerators = b.enumerators(type);
      const problems = movedConstants(known, enumerators);
      if (target !== undefined && !enumerators.some(({ name }) => known.has(name))) {
        inKernel ??= unnamedEnumerators(target, unnamedEnumsOf(target));
        problems.push(...movedConstants(inKernel, enumerators));
      }
      const title = `enum { ${enumerators[0]?.name ?? ""}, … }`;
      const advice = adviceFor("enum");
      if (problems.length > 0)
        this.#findings.push({ title, change: { problems, remarks: [], layouts: [], movedBy: [] }, advice });
    }
  }

  /** Numbers that only a pointer to a typedef leads to have no struct that would show their size. */
  #numbers(): void {
    const { target } = this.#question;
    for (const [name, types] of this.#patched.numbers) {
      const own = this.#original.numbers.get(name);
      const from = own !== undefined ? this.#types : target === undefined ? undefined : this.#types.against(target);
      const known = own ?? (target === undefined ? [] : findNumbers(target, name));
      const [type, old] = [types[0], known[0]];
      if (from === undefined || type === undefined || old === undefined) continue;
      if (types.some((each) => known.some((other) => isSameNumber(from, other, each)))) continue;
      const problem = `it changes from ${numberText(from.a, old)} to ${numberText(from.b, type)}`;
      this.#add(name, { problems: [problem], remarks: [], layouts: [], movedBy: [] });
    }
  }

  async #functions(): Promise<void> {
    const changed = [...this.#patched.functions].flatMap(([name, types]) => {
      const known = this.#original.functions.get(name)?.[0];
      const type = types[0];
      if (known === undefined || type === undefined) return [];
      const { a, b } = this.#types;
      const isSame =
        this.#types.samePrototype(a.target(known), b.target(type)) &&
        movedParameters(this.#types, known, type).length === 0;
      return isSame ? [] : [{ name, known, type }];
    });
    if (changed.length === 0) return;
    const shared = await sharedFunctions(await readFile(this.#question.originalObject));
    for (const { name, known, type } of changed) {
      if (shared.has(name)) this.#add(`${name}()`, prototypeChange(this.#types, known, type, unitTitles), name);
    }
  }

  #add(title: string, change: TypeChange, prototypeOf?: string): void {
    const isLocal = this.#localTypes.has(title);
    const isPrivate = isLocal && this.#question.reached?.has(plainName(title)) !== true;
    if (isPrivate && change.problems.length > 0) {
      // Its objects are on the stacks of the functions, which change over when nobody is in them.
      this.notes.push(
        `${this.#question.unit}: ${title} changes; only functions know it and hold it on their stacks, so no object of it outlives them`,
      );
      return;
    }
    const ofLocal = isLocal ? this.#question.adviceForLocal?.(title) : undefined;
    const advice = ofLocal ?? adviceFor(prototypeOf === undefined ? title : "function");
    this.#findings.push({ title, function: prototypeOf, change, advice });
  }

  #report(): void {
    const { unit, allowed } = this.#question;
    const isAllowed = (title: string): boolean =>
      allowed.includes("*") || namesOf(title).some((name) => allowed.includes(name));
    const refused = new Set(
      this.#findings.flatMap(({ title, change }) => (change.problems.length > 0 && !isAllowed(title) ? [title] : [])),
    );
    const causes = new Map(
      this.#findings.flatMap(({ title, change }) => {
        const cause = change.movedBy.find((name) => name !== title && refused.has(name));
        return cause === undefined || !refused.has(title) ? [] : [[title, cause] as const];
      }),
    );
    const own = this.#findings.filter(({ title }) => !causes.has(title));
    for (const { title, function: prototype, change, advice } of own) {
      const place = { unit, function: prototype };
      this.notes.push(...change.remarks.map((remark) => `${unit}: ${title}: ${remark}`));
      if (change.problems.length === 0) continue;
      if (!refused.has(title)) {
        this.notes.push(`${unit}: ${title}: accepted as --allow-layout says: ${change.problems.join("; ")}`);
        continue;
      }
      const users = usersOf(this.#types.b, this.#patched.functions, title);
      const holders = [...causes.keys()].filter((holder) => rootOf(holder, causes) === title);
      const problem = change.problems.join("; ");
      const rest = [
        ...change.layouts,
        ...(holders.length === 0 ? [] : [`this moves parts of ${shorten(holders)} too`]),
      ];
      const refusal = refuse("LAYOUT_CHANGED", title, place, {
        problem: [`${problem}${users === "" ? "" : ` (${users})`}`, ...rest].join("\n"),
        ...{ advice, name: namesOf(title)[0] ?? title },
      });
      this.refusals.push(refusal);
      if (change.filled !== undefined) this.filled.set(title, change.filled);
      this.subjects.set(refusal, [title, problem, ...rest].join("\n"));
    }
  }
}

/** The type whose change moved this one, through whatever holds it. */
function rootOf(title: string, causes: ReadonlyMap<string, string>): string {
  let root = title;
  for (let step = 0; step <= causes.size; step++) root = causes.get(root) ?? root;
  return root;
}

function definitionChange(types: TypePairs, x: number, y: number, titles: readonly [string, string]): TypeChange {
  return wordOf(types.a, x) === "enum" && wordOf(types.b, y) === "enum"
    ? enumChange(types, x, y, titles)
    : structChange(types, x, y, titles);
}

/** Beginnings of titles; those without one are named by a typedef. */
const kinds: readonly string[] = ["struct ", "union ", "enum ", ""];

function plainName(title: string): string {
  return title.replace(/^(struct|union|enum) /, "");
}

/** How `--allow-layout` may call it: the plain name first. */
function namesOf(title: string): string[] {
  const plain = plainName(title.replace(/^enum \{ (\S*), … \}$/, "$1")).replace(/\(\)$/, "");
  return [...new Set([plain, title])];
}

function adviceFor(title: string): string {
  if (title === "function") return "leave the function's prototype as it is, and give the new one another name";
  if (title.startsWith("enum")) return "leave existing values as they are: put new ones at the end, behind every other";
  return [
    `leave ${title} as it is and keep the new value in a shadow variable (linux/livepatch.h; ID is any number that is yours):`,
    "  where it is set:   int *value = klp_shadow_get_or_alloc(obj, ID, sizeof(*value), GFP_KERNEL, NULL, NULL);",
    "  where it is used:  int *value = klp_shadow_get(obj, ID); which is NULL for objects from before the patch",
    "  before obj goes:   klp_shadow_free(obj, ID, NULL);",
  ].join("\n");
}

function shorten(names: readonly string[]): string {
  const rest = names.length - 4;
  return `${names.slice(0, 4).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}

const targetTitles = ["the kernel", "compiled here"] as const;

/**
 * Types of an unpatched unit that the target kernel has differently: evidence that the source or the configuration is not the kernel's.
 * @param folder where files may be for a while.
 * @returns a line for each, those that differ on their own account first; empty when all agree or the unit has no debug information.
 * @throws KmendError `BTF_FORMAT`, `PROGRAM_MISSING`.
 */
export async function compareWithTarget(
  originalObject: string,
  target: Btf,
  folder: string = dirname(originalObject),
  signal?: AbortSignal,
): Promise<string[]> {
  const encoded = await encodeUnitTypes(originalObject, folder, signal).catch(unknownTypes);
  if (encoded instanceof KmendError) return [];
  const unit = new Btf(encoded, originalObject);
  const types = new TypePairs(target, unit);
  const causes: string[] = [];
  const moved: string[] = [];
  const table = tableOfTypes(unit);
  for (const [name, [type]] of table.numbers) {
    const [old, ...more] = findNumbers(target, name);
    if (type === undefined || old === undefined) continue;
    if ([old, ...more].some((known) => isSameNumber(types, known, type))) continue;
    causes.push(`${name}: it is ${numberText(unit, type)} and not ${numberText(target, old)}`);
  }
  if (table.unnamedEnums.length > 0) {
    const known = unnamedEnumerators(target, unnamedEnumsOf(target));
    for (const type of table.unnamedEnums) {
      const enumerators = unit.enumerators(type);
      const title = `enum { ${enumerators[0]?.name ?? ""}, … }`;
      causes.push(...movedConstants(known, enumerators).map((difference) => `${title}: ${difference}`));
    }
  }
  for (const [title, definitions] of table.definitions) {
    const known = findDefinitions(target, title);
    const first = known[0];
    const type = definitions.find((each) => !known.some((old) => types.sameDefinition(old, each)));
    if (first === undefined || type === undefined) continue;
    const { problems, remarks, movedBy } = definitionChange(types, first, type, targetTitles);
    const difference = problems[0] ?? remarks[0] ?? "it is declared in another way";
    (movedBy.length > 0 ? moved : causes).push(`${title}: ${difference}`);
  }
  return [...causes.sort(), ...moved.sort()];
}
