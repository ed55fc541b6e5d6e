import { mapConcurrently } from "../support/run.ts";
import { type Allocator, allocators, releases, sizeChecks } from "./allocators.ts";
import { type Diagnostic, outermostPlace, type SourcePlace } from "./diagnostics.ts";
import { type Oracle, SourceFiles, type TextOverlay } from "./oracle.ts";
import { constantMember, probeHeader, probeTexts } from "./probes.ts";
import type { Obstacle } from "./soundness.ts";
import { applyEdits, type EnclosingCall, enclosingCall, type SourceText } from "./source-text.ts";
import { findStructs } from "./struct-text.ts";

/** A place in the life of objects. */
interface LifeSite {
  readonly file: string;
  readonly line: number;
  /** Function that it is in. */
  readonly function: string;
  readonly call: EnclosingCall;
}

/** Where an object is created. */
export interface Creation extends LifeSite {
  readonly allocator: Allocator;
  /** Its memory has only zeros. */
  readonly zeroes: boolean;
  /** How memory may be got there. */
  readonly gfp: string;
}

/** Where an object's memory is given back. */
export interface End extends LifeSite {
  /** Not before a grace period has passed. */
  readonly isLate: boolean;
}

/** What the units that see a type do with whole objects of it. */
export interface TypeLife {
  readonly creations: readonly Creation[];
  readonly ends: readonly End[];
  /** Where an object is cleared as a whole. */
  readonly clears: readonly LifeSite[];
  /** Variables with static storage, which start as zeros. */
  readonly statics: readonly string[];
  readonly obstacles: readonly Obstacle[];
}

/**
 * Finds where objects of `struct tag` are created, end, are copied, and what holds them, by the words of the compiler: with the size of the type and the
 * functions that free watched, and with the type left incomplete.
 * @param definition file that defines it.
 * @param files in whose state.
 */
export async function lifeOf(tag: string, definition: string, oracle: Oracle, files: TextOverlay): Promise<TypeLife> {
  const sources = new SourceFiles(oracle, files);
  const source = await sources.open(definition);
  const [struct, ...more] = source === undefined ? [] : findStructs(source, tag);
  const life = new LifeReader(tag, sources);
  if (source === undefined || struct === undefined || more.length > 0) {
    const message = `struct ${tag} has ${more.length + (struct === undefined ? 0 : 1)} definitions in ${definition}`;
    life.add({ rule: "UNCLEAR", file: definition, line: 0, function: "", values: { message } });
    return life;
  }
  const insert = { start: struct.open + 1, end: struct.open + 1, text: constantMember };
  const constant = new Map([...files, [definition, applyEdits(source.text, [insert])]]);
  // Between the braces nothing may be left but the lines.
  const gone = {
    start: struct.open,
    end: struct.close + 1,
    text: "\n".repeat(source.lineOf(struct.close) - source.lineOf(struct.open)),
  };
  const attributes = { start: struct.close + 1, end: struct.end - 1, text: "" };
  const incomplete = new Map([...files, [definition, applyEdits(source.text, [gone, attributes])]]);
  const hasRoom = /\[\s*[01]?\s*\]$/.test(struct.members.at(-1)?.declaration ?? "");
  const told = await mapConcurrently(oracle.units, oracle.jobs, async (unit) => ({
    complete: await oracle.diagnose(unit, constant, probeHeader(tag)),
    incomplete: await oracle.diagnose(unit, incomplete),
  }));
  for (const unit of told) {
    for (const found of unit.complete) await life.ofComplete(found);
    for (const found of unit.incomplete) await life.ofIncomplete(found, hasRoom);
  }
  return life;
}

class LifeReader implements TypeLife {
  readonly creations: Creation[] = [];
  readonly ends: End[] = [];
  readonly clears: LifeSite[] = [];
  readonly statics: string[] = [];
  readonly obstacles: Obstacle[] = [];
  readonly #tag: string;
  readonly #sources: SourceFiles;
  readonly #seen = new Set<string>();

  constructor(tag: string, sources: SourceFiles) {
    this.#tag = tag;
    this.#sources = sources;
  }

  add(obstacle: Obstacle): void {
    const { rule, file, line, values } = obstacle;
    if (this.#isNew([rule, file, line, ...Object.values(values)])) this.obstacles.push(obstacle);
  }

  /** A diagnostic of the unit with a constant member in the type and its size watched. */
  async ofComplete(found: Diagnostic): Promise<void> {
    if (found.kind !== "error") return;
    const place = { file: outermostPlace(found).file, line: outermostPlace(found).line, function: found.function };
    if (found.message.includes(`"${probeTexts.size}"`)) await this.#size(found);
    else if (found.message.includes(`"${probeTexts.end}"`)) await this.#end(found);
    else if (/^assignment of read-only /.test(found.message)) this.add({ rule: "COPIED", ...place, values: {} });
    else this.#unclear(found);
  }

  /** A diagnostic of the unit with the type left incomplete. @param hasRoom objects may be created with more than their size. */
  async ofIncomplete(found: Diagnostic, hasRoom: boolean): Promise<void> {
    const { message, kind, function: name } = found;
    if (kind !== "error") return;
    const { file, line } = outermostPlace(found);
    const place = { file, line, function: name };
    const field = /^field '(.+)' has incomplete type/.exec(message)?.[1];
    const variable = /^storage size of '(.+)' isn't known/.exec(message)?.[1];
    if (field !== undefined) {
      this.add({ rule: "EMBEDDED", ...place, values: { holder: `the member ${field} of another struct` } });
    } else if (variable !== undefined) {
      const isStatic = name === "" || (await this.#lineAt(file, line)).includes("static ");
      if (isStatic) this.statics.push(variable);
      else this.add({ rule: "LOCAL_OBJECT", ...place, values: { what: variable } });
    } else if (/^array type has incomplete element type/.test(message)) {
      this.add({ rule: "ARRAY", ...place, values: {} });
    } else if (/parameter .*incomplete|return type is an incomplete/.test(message)) {
      this.add({ rule: "BY_VALUE", ...place, values: {} });
    } else if (/of pointer to an incomplete|arithmetic on (a )?pointer to an incomplete/.test(message)) {
      this.add({ rule: "ARRAY", ...place, values: {} });
    } else if (message === `invalid use of undefined type 'struct ${this.#tag}'`) {
      await this.#use(found, place, hasRoom);
    } else if (message.includes(`'struct ${this.#tag}'`) && !harmless.test(message)) {
      this.#unclear(found);
    }
  }

  /** A member, an element, an arithmetical step or a compound literal: the sign at the place tells which. */
  async #use(
    found: Diagnostic,
    place: { file: string; line: number; function: string },
    hasRoom: boolean,
  ): Promise<void> {
    const source = await this.#sources.open(found.file);
    const at = source?.offsetOf(found) ?? 0;
    const sign = source?.code.slice(at, at + 2) ?? "";
    if (sign.startsWith("{") || sign.startsWith("(")) {
      this.add({ rule: "LOCAL_OBJECT", ...place, values: { what: "a compound literal" } });
    } else if (sign.startsWith("[") || /^[+-]($|[^>])/.test(sign)) {
      this.add({ rule: "ARRAY", ...place, values: {} });
    } else if (hasRoom && found.macros.some(({ name }) => /^(offsetof|offsetofend|sizeof_field)$/.test(name))) {
      if (found.macros.some(({ name }) => name.includes("container_of"))) return;
      this.add({ rule: "SIZE_USED", ...place, values: { use: "offsetof()" } });
    }
  }

  async #size(found: Diagnostic): Promise<void> {
    const outer = outermostPlace(found);
    const source = await this.#sources.open(outer.file);
    if (source === undefined) return this.#unclear(found);
    const offset = source.offsetOf(outer);
    if (!this.#isNew(["size", outer.file, offset])) return;
    const call = enclosingCall(source, offset);
    const outside = found.macros.map(({ name }) => name);
    if (outside.some((name) => sizeChecks.has(name)) || (call !== undefined && sizeChecks.has(call.name))) return;
    const site = { file: outer.file, line: outer.line, function: found.function };
    const allocator = call === undefined || source.isDirective(offset) ? undefined : allocators[call.name];
    if (call !== undefined && allocator !== undefined && call.argument === allocator.size) {
      const gfp = allocator.gfp === undefined ? "GFP_KERNEL" : textOf(source, call, allocator.gfp);
      this.creations.push({ ...site, call, allocator, zeroes: allocator.zeroes || gfp.includes("__GFP_ZERO"), gfp });
      return;
    }
    if (call !== undefined && isClearing(source, call)) {
      this.clears.push({ ...site, call });
      return;
    }
    const use = call === undefined ? "an expression" : `${call.name}()`;
    this.add({ rule: "SIZE_USED", ...site, values: { use } });
  }

  async #end(found: Diagnostic): Promise<void> {
    const use = found.macros.find(({ name, isUse }) => isUse && Object.hasOwn(releases, name));
    const source = use === undefined ? undefined : await this.#sources.open(use.file);
    if (use === undefined || source === undefined) return this.#unclear(found);
    const offset = source.offsetOf(use);
    if (!this.#isNew(["end", use.file, offset])) return;
    const open = source.code.indexOf("(", offset);
    const call = enclosingCall(source, open + 1);
    if (call === undefined || call.name !== use.name || source.isDirective(offset)) return this.#unclear(found);
    const isLate = releases[use.name]?.isLate === true;
    this.ends.push({ file: use.file, line: use.line, function: found.function, call, isLate });
  }

  async #lineAt(file: string, line: number): Promise<string> {
    const source = await this.#sources.open(file);
    return source?.text.split("\n")[line - 1] ?? "";
  }

  #unclear(found: Diagnostic): void {
    const { file, line }: SourcePlace = outermostPlace(found);
    this.add({ rule: "UNCLEAR", file, line, function: found.function, values: { message: found.message } });
  }

  #isNew(key: readonly (string | number)[]): boolean {
    const text = key.join("\0");
    if (this.#seen.has(text)) return false;
    this.#seen.add(text);
    return true;
  }
}

/** Words of the compiler about an incomplete type that other diagnostics tell better. */
const harmless =
  /^invalid application of '(sizeof|_Alignof|__alignof__|__alignof)'|has no member named|initializer but incomplete/;

/** `memset(p, 0, sizeof(*p))` leaves an object as a new one is. */
function isClearing(source: SourceText, call: EnclosingCall): boolean {
  return call.name === "memset" && call.argument === 2 && textOf(source, call, 1) === "0";
}

/** The text of an argument. */
function textOf(source: SourceText, call: EnclosingCall, argument: number): string {
  const span = call.arguments[argument];
  return span === undefined ? "" : source.text.slice(span.start, span.end);
}
