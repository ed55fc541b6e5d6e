import { type Refusal, refuse } from "../refusals/refusals.ts";
import { type Atom, isIndirect, type Reference } from "./atoms.ts";
import { type AuthorMarks, readMarks } from "./author-marks.ts";
import { Comparison } from "./compare.ts";
import { type Correlation, isWritable } from "./correlate.ts";
import { declaredName, heldData, isElsewhere, isLocalConstant, raisedAlignment, sourceName } from "./declarations.ts";
import { exportedAtom, exportedName, isExport, isExportPart, removedExports } from "./exports.ts";
import { labelTablesOf } from "./label-tables.ts";
import type { LinePair } from "./lines/line-map.ts";
import { LineMoves, type LineRule } from "./lines/line-moves.ts";
import { moduleInformationNotes } from "./module-information.ts";
import { movedNames } from "./moved-names.ts";
import { coldParent } from "./names.ts";
import { ranAtBootNotes } from "./ran-at-boot.ts";
import { ColdParts } from "./source-files.ts";
import { classOf, isGone, sectionRule } from "./special-sections/section-classes.ts";
import { syscallOf, tracedSyscall } from "./syscall-metadata.ts";
import type { UnitObject } from "./unit-object.ts";
import { sectionsOfOtherContent } from "./unnamed-content.ts";
import { collectTableTargets, collectUsers } from "./users.ts";

/** A function that the patch module has to hold. */
export interface FunctionChange {
  /** In the patched unit. */
  readonly atom: Atom;
  /** In the original unit; undefined for a new function. */
  readonly original: Atom | undefined;
  readonly change: "changed" | "new";
  /** True when ftrace sends calls of the original here. False for new functions and for those that only their (changed) callers reach. */
  readonly redirected: boolean;
  /** Why it counts as changed. */
  readonly reason: string;
  /** Offset in the patched function of the first difference; undefined when there is no such place. */
  readonly differsAt: number | undefined;
}

/** Whether the change touches the text of a function of this name, and not only what other text puts into its code. */
export type IsTextChanged = (functionName: string) => boolean;

/** What differs between the two builds of a unit, before anything is selected for the patch module. */
export interface UnitChanges {
  readonly functions: ReadonlyMap<Atom, FunctionChange>;
  readonly refusals: readonly Refusal[];
  readonly notes: readonly string[];
  /** By function that ran and is gone, its section: another code of it comes from what it uses, and not from its own text. */
  readonly ranAtBoot: ReadonlyMap<string, string>;
  readonly callbacks: AuthorMarks["callbacks"];
  /** Sections whose content stays as the running kernel has it. */
  readonly ignoredSections: ReadonlySet<string>;
  /** Entries of the patched unit that export something new. */
  readonly newExports: readonly Atom[];
  /** Data of the patched unit that leads to places inside of its changed functions. */
  readonly labelTables: ReadonlySet<Atom>;
  /** Answers further questions about the two builds. */
  readonly comparison: Comparison;
  /** By function of the patched unit, lines that moved and that its code repeats; none where lines count. */
  readonly movedLines: ReadonlyMap<Atom, readonly LinePair[]>;
}

/**
 * Finds the changed and new functions of a unit, and every change that no patch module can make.
 * @param unitPath source path of the unit, for messages.
 * @param object `vmlinux` or the module's name.
 * @param isTextChanged by default all functions count as rewritten.
 * @param lines whether a number that only repeats a moved line is a change. It is where both builds were made for each other and have equal lines.
 */
export function findChanges(
  original: UnitObject,
  patched: UnitObject,
  correlation: Correlation,
  unitPath: string,
  object: string,
  isTextChanged: IsTextChanged = () => true,
  lines: LineRule = "strict",
): UnitChanges {
  const moves = lines === "moved" ? new LineMoves(original, patched, correlation) : undefined;
  const finder = new ChangeFinder(original, patched, correlation, unitPath, object, isTextChanged, moves);
  finder.run();
  return {
    functions: finder.functions,
    refusals: finder.refusals,
    notes: [...finder.notes, ...ranAtBootNotes(finder.ranAtBoot, unitPath, object)],
    ranAtBoot: finder.ranAtBoot,
    callbacks: finder.marks.callbacks,
    ignoredSections: finder.marks.ignoredSections,
    newExports: finder.newExports,
    comparison: finder.comparison,
    labelTables: finder.labelTables,
    movedLines: moves?.moved ?? new Map(),
  };
}

class ChangeFinder {
  readonly functions = new Map<Atom, FunctionChange>();
  readonly refusals: Refusal[] = [];
  readonly notes: string[] = [];
  readonly ranAtBoot = new Map<string, string>();
  readonly newExports: Atom[] = [];
  readonly comparison: Comparison;
  labelTables: ReadonlySet<Atom> = new Set();
  readonly marks: AuthorMarks;
  readonly #users: ReadonlyMap<Atom, readonly { readonly user: Atom; readonly reference: Reference }[]>;
  readonly #tableUsers: ReadonlyMap<Atom, string>;
  readonly #coldPartsOf: ColdParts;
  readonly #metadata: Atom[] = [];
  readonly original: UnitObject;
  readonly patched: UnitObject;
  readonly correlation: Correlation;
  readonly unitPath: string;
  readonly object: string;
  readonly isTextChanged: IsTextChanged;

  constructor(
    original: UnitObject,
    patched: UnitObject,
    correlation: Correlation,
    unitPath: string,
    object: string,
    isTextChanged: IsTextChanged,
    moves: LineMoves | undefined,
  ) {
    this.isTextChanged = isTextChanged;
    this.original = original;
    this.patched = patched;
    this.correlation = correlation;
    this.unitPath = unitPath;
    this.object = object;
    this.marks = readMarks(patched);
    this.comparison = new Comparison(original, patched, correlation, moves, this.marks.ignoredSections);
    this.#coldPartsOf = new ColdParts(patched);
    this.#users = collectUsers(patched);
    this.#tableUsers = collectTableTargets(patched);
  }

  run(): void {
    for (const atom of this.patched.atoms) {
      const before = this.correlation.originalOf.get(atom);
      const sectionClass = classOf(atom.section);
      if (sectionClass === "companion" || sectionClass === "mark") continue;
      if (this.#isLeft(atom)) continue;
      if (atom.kind === "function") this.#function(atom, before, isGone(atom.section, this.object));
      else if (before !== undefined) this.#pairedData(before, atom, sectionClass);
      else this.#unpaired(atom, sectionClass);
    }
    this.#syscallMetadata();
    this.notes.push(
      ...removedExports(this.original.atoms, this.correlation).map((note) => `${this.unitPath}: ${note}`),
    );
    this.#movedNames();
    const other = sectionsOfOtherContent(this.original, this.patched);
    for (const section of other) this.#refuse("SECTION_CHANGED", section, { section });
    this.notes.push(...moduleInformationNotes(this.original.elf, this.patched.elf, this.unitPath));
    this.#coldParts();
    this.#unredirectable();
    this.labelTables = labelTablesOf(this.patched, (atom) => this.functions.get(atom)?.original !== undefined);
    this.#labelTables();
    this.#sharedConstants();
  }

  /** True for what its author leaves as the running kernel has it. */
  #isLeft({ section }: Atom): boolean {
    return this.marks.ignoredSections.has(section.name);
  }

  #function(atom: Atom, before: Atom | undefined, isInit: boolean): void {
    if (before === undefined) {
      if (isInit) this.#initCode(atom);
      else this.#add(atom, undefined, "new in this unit", undefined);
      return;
    }
    if (!isInit && isGone(before.section, this.object)) {
      this.#add(atom, undefined, `was thrown away after boot (${before.section.name})`, undefined);
      return;
    }
    if (isIndirect(before)) this.#refuse("INDIRECT_FUNCTION", atom.name, { problem: "it becomes a plain function" });
    const difference = this.comparison.difference(before, atom);
    if (this.marks.ignoredFunctions.has(atom)) {
      const found = difference === null ? "did not change, so it need not be ignored" : "changed and is left out";
      this.notes.push(`${this.unitPath}: ${atom.name} ${found}`);
      return;
    }
    if (difference === null) return;
    if (isInit || isGone(before.section, this.object)) this.#initCode(atom);
    else this.#add(atom, before, difference.text, difference.offset);
  }

  /** Code that ran at boot: what its author rewrote is refused, what comes from a changed inline function or macro only has no effect. */
  #initCode(atom: Atom): void {
    const name = sourceName(atom.name);
    if (this.isTextChanged(name)) this.#refuse("INIT_CODE", atom.name, { section: atom.section.name });
    else this.ranAtBoot.set(name, atom.section.name);
  }

  #add(atom: Atom, original: Atom | undefined, reason: string, differsAt: number | undefined): void {
    const redirected = original !== undefined && coldParent(atom.name) === undefined;
    this.functions.set(atom, {
      atom,
      original,
      change: original === undefined ? "new" : "changed",
      redirected,
      reason,
      differsAt,
    });
  }

  #pairedData(before: Atom, atom: Atom, sectionClass: string): void {
    if (isElsewhere(before, atom)) {
      this.#refuse("DATA_MOVED", declaredName(atom), { from: before.section.name, to: atom.section.name });
      return;
    }
    const raised = raisedAlignment(before, atom, this.patched, this.correlation);
    if (raised !== undefined && sectionClass !== "registry") this.#refuse("DATA_ALIGNED", declaredName(atom), raised);
    const moved = sectionClass === "registry" && before.section.name !== atom.section.name;
    if (!moved && this.comparison.difference(before, atom) === null) return;
    if (isGone(atom.section, this.object)) this.#refuse("INIT_CODE", atom.name, { section: atom.section.name });
    else if (sectionClass === "registry") this.#refuseRegistry(atom);
    else if (atom.kind === "code") this.#refuseCode(atom);
    else if (isWritable(atom) || isWritable(before) || atom.symbol?.binding !== 0) {
      const [oldSize, newSize] = [before.end - before.start, atom.end - atom.start];
      if (oldSize !== newSize)
        this.#refuse("DATA_SIZE_CHANGED", declaredName(atom), { oldSize: `${oldSize}`, newSize: `${newSize}` });
      else this.#refuse("DATA_CHANGED", declaredName(atom), heldData(atom));
    }
  }

  /** Something without a counterpart: harmless where it is carried only when used, refused where the kernel would have to be told about it. */
  #unpaired(atom: Atom, sectionClass: string): void {
    if (isExportPart(atom)) return;
    if (isExport(atom)) this.#newExport(atom);
    else if (sectionClass === "registry" && !this.#equalsSomeOriginal(atom)) this.#refuseRegistry(atom);
    else if (isGone(atom.section, this.object) && atom.symbol !== undefined && !this.#equalsSomeOriginal(atom)) {
      this.#refuse("INIT_CODE", atom.name, { section: atom.section.name });
    } else if (atom.kind === "code" && atom.symbol !== undefined && !this.#equalsSomeOriginal(atom)) {
      this.#refuseCode(atom);
    }
  }

  #refuseCode(atom: Atom): void {
    if (isIndirect(atom)) this.#refuse("INDIRECT_FUNCTION", atom.name, { problem: "the change is in its resolver" });
    else this.#refuse("ASSEMBLY", atom.name, {});
  }

  /** The patch module can export what it brings itself; modules that are loaded later then find it. */
  #newExport(atom: Atom): void {
    const exported = exportedAtom(atom);
    if (exported !== undefined && !this.correlation.originalOf.has(exported)) this.newExports.push(atom);
    else {
      this.notes.push(
        `${this.unitPath}: ${exportedName(atom)} becomes exported with the patch; the running kernel has it already and keeps it unexported`,
      );
    }
  }

  #movedNames(): void {
    for (const { name, from, to } of movedNames(this.original.atoms, this.patched.atoms, this.correlation.patchedOf))
      this.#refuse("ALIAS_MOVED", name, { from: from.name, to: to.name });
  }

  #equalsSomeOriginal(atom: Atom): boolean {
    return this.original.atoms.some(
      (other) =>
        other.section.name === atom.section.name &&
        !this.correlation.patchedOf.has(other) &&
        this.comparison.difference(other, atom) === null,
    );
  }

  /** The kernel goes on tracing a system call that it has by what it read of it; a new one, and one that did not change, has to be refused. */
  #syscallMetadata(): void {
    const changed = [...this.functions.values()].flatMap(({ atom, original }) =>
      original === undefined ? [] : [syscallOf(atom)],
    );
    const names = new Set(this.#metadata.map((atom) => tracedSyscall(atom) as string));
    for (const name of names)
      if (changed.includes(name))
        this.notes.push(
          `${this.unitPath}: the kernel keeps what it knows of the system call ${name.slice(1)} for tracing`,
        );
    for (const atom of this.#metadata) if (!changed.includes(tracedSyscall(atom))) this.#refuseRegistry(atom, true);
  }

  #refuseRegistry(atom: Atom, isDecided = false): void {
    if (!isDecided && tracedSyscall(atom) !== undefined) {
      this.#metadata.push(atom);
      return;
    }
    const code = sectionRule(atom.section.name)?.refusal ?? "SECTION_CHANGED";
    this.#refuse(code, atom.name, {
      section: atom.section.name,
      object: this.object,
      problem: `the licence or the namespace of the export ${exportedName(atom)} changed, and the kernel's export tables cannot change while it runs`,
    });
  }

  /** A function and its cold part are one: when either changed, both are replaced. */
  #coldParts(): void {
    for (const change of [...this.functions.values()]) {
      const parent = this.#coldPartsOf.ownerOf(change.atom);
      if (parent === undefined || this.functions.has(parent)) continue;
      this.#add(parent, this.correlation.originalOf.get(parent), `its cold part ${change.reason}`, undefined);
    }
  }

  /**
   * A changed function that ftrace cannot redirect is carried as new code when every use of it is a direct branch from a function that can be
   * redirected; those callers are then replaced too. Everything else about it is refused.
   */
  #unredirectable(): void {
    const queue = [...this.functions.values()].filter((change) => change.redirected);
    for (let change = queue.shift(); change !== undefined; change = queue.shift()) {
      const { atom, original } = change;
      if (original === undefined || this.original.ftraceEntry(original) !== undefined) continue;
      this.functions.set(atom, { ...change, redirected: false });
      const obstacle = this.#obstacleToCallers(atom);
      if (obstacle !== undefined) {
        this.#refuse("NOT_TRACEABLE", atom.name, obstacle);
        continue;
      }
      for (const { user } of this.#users.get(atom) ?? []) {
        const owner = this.#ownerOf(user);
        if (owner === undefined || this.functions.has(owner)) continue;
        const before = this.correlation.originalOf.get(owner);
        const reason = `calls ${atom.name}, which changed and cannot be redirected by ftrace`;
        this.#add(owner, before, reason, undefined);
        const added = this.functions.get(owner);
        if (before !== undefined && added !== undefined) queue.push(added);
      }
    }
  }

  #obstacleToCallers(atom: Atom): { reason: string; advice: string } | undefined {
    const where = /noinstr|entry\.text/.test(atom.section.name) ? `; it is in ${atom.section.name}` : "";
    const advice = `make the change in the functions that call ${atom.name}`;
    if (atom.symbol?.binding !== 0) return { reason: `${where}, and other units may call it`, advice };
    const table = this.#tableUsers.get(atom);
    if (table !== undefined) return { reason: `${where}, and ${table} refers to it`, advice };
    for (const { user, reference } of this.#users.get(atom) ?? []) {
      const owner = this.#ownerOf(user);
      if (owner === undefined || isGone(user.section, this.object))
        return { reason: `${where}, and ${user.name} refers to it`, advice };
      if (!this.patched.arch.isBranch(user, reference))
        return { reason: `${where}, and ${user.name} takes its address`, advice };
    }
    return undefined;
  }

  /** The function that a piece of code belongs to: itself, or the parent of a cold part. */
  #ownerOf(atom: Atom): Atom | undefined {
    if (atom.kind !== "function") return undefined;
    return coldParent(atom.name) === undefined ? atom : this.#coldPartsOf.ownerOf(atom);
  }

  /** Tables of labels go with their function: a constant one is carried with it, one that may have been written is not known any more. */
  #labelTables(): void {
    for (const atom of this.labelTables) {
      if (!this.correlation.originalOf.has(atom) || atom.symbol === undefined || this.#isLeft(atom)) continue;
      if (isWritable(atom)) this.#refuse("DATA_CHANGED", declaredName(atom), heldData(atom));
      else this.#requireCarriedUsers(atom);
    }
  }

  /** @param atom a constant of which the patch module gets a copy. */
  #requireCarriedUsers(atom: Atom): {
    readonly isUsed: boolean;
    readonly isStored: boolean;
    readonly isShared: boolean;
  } {
    // A constant that points at this one differs from its original by that, and is looked at on its own.
    const uses = (this.#users.get(atom) ?? []).filter(({ user }) => !isLocalConstant(user));
    const outside = uses.filter(({ user }) => !this.functions.has(user)).map(({ user }) => user);
    if (outside.length > 0)
      this.#refuse("RODATA_SHARED", declaredName(atom), { users: [...new Set(outside.map(declaredName))].join(", ") });
    const isStored = uses.some(({ user, reference }) => this.patched.arch.isAddressStored(user, reference));
    return { isUsed: uses.length > 0, isStored, isShared: outside.length > 0 };
  }

  /** A changed constant that live data or a function that cannot be replaced keeps using would exist in two versions. */
  #sharedConstants(): void {
    for (const [before, atom] of this.correlation.patchedOf) {
      if (atom.kind !== "rodata" || atom.symbol?.binding !== 0 || classOf(atom.section) !== "content") continue;
      if (this.#isLeft(atom)) continue;
      if (this.comparison.difference(before, atom) === null) continue;
      const { isUsed, isStored, isShared } = this.#requireCarriedUsers(atom);
      if (isShared) continue;
      if (isStored) this.#refuse("DATA_CHANGED", declaredName(atom), heldData(atom));
      else if (isUsed && !this.labelTables.has(atom)) {
        this.notes.push(
          `${this.unitPath}: the constant ${atom.name} changed; its users carry the new copy, pointers that they stored earlier keep the old one`,
        );
      }
    }
  }

  #refuse(code: Parameters<typeof refuse>[0], what: string, values: Record<string, string>): void {
    if (!this.refusals.some((earlier) => earlier.code === code && earlier.what === what)) {
      this.refusals.push(refuse(code, what, this.unitPath, values));
    }
  }
}
