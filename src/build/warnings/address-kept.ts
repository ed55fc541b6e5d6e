import { followAddresses } from "../../diff/addresses/address-flow.ts";
import type { AddressEnd, CalleeTreatment, FlowUnit } from "../../diff/addresses/flow-types.ts";
import type { Atom } from "../../diff/atoms.ts";
import { coldParent } from "../../diff/names.ts";
import { sourceLines } from "../../elf/line-table.ts";
import type { Btf } from "../../kernel/types/btf.ts";
import { BtfKind } from "../../kernel/types/btf-format.ts";
import type { ResolvedUnit, UnitPlan } from "../resolve/plan.ts";
import { type AddressRule, keepsNoAddress } from "./keeps-no-address.ts";
import type { Warning } from "./warning.ts";

/** What the kernel tells about functions that addresses are passed to. */
export interface AddressFacts {
  /** True when the kernel has lockdep, which keeps names and classes of locks. */
  readonly hasLockdep: boolean;
  /** Types of `vmlinux` or a module; undefined when the kernel has none. */
  readonly typesOf: (object: string) => Btf | undefined;
}

/** What of a unit the addresses are looked for in. */
export interface CarriedCode extends Pick<ResolvedUnit, "selection"> {
  readonly plan: Pick<UnitPlan, "patched" | "changes"> & { readonly pair: Pick<UnitPlan["pair"], "source" | "object"> };
}

/**
 * Warns of each place where carried code puts the address of something carried where it may be found after the patch module has gone: a timer, a work item,
 * a table of operations, a name in a live object. The kernel's transition does not see those who come by such an address (klp_check_stack(),
 * kernel/livepatch/transition.c, looks for the functions in `struct klp_func` only).
 */
export function keptAddresses(units: readonly CarriedCode[], facts: AddressFacts): Warning[] {
  const named = new Map<string, Atom>();
  for (const { selection } of units)
    for (const atom of selection.atoms)
      for (const symbol of atom.symbols) if (symbol.binding !== 0) named.set(symbol.name, atom);
  return units.flatMap((unit) => {
    const { plan } = unit;
    const btf = facts.typesOf(plan.pair.object);
    const known = new Map<string, CalleeTreatment>();
    const ends = followAddresses(flowUnit(unit), {
      carriedNamed: (name) => named.get(name),
      treatmentOf: (name) => {
        const found = known.get(name) ?? treatmentOf(name, facts.hasLockdep, btf);
        known.set(name, found);
        return found;
      },
    });
    return warningsOf(unit, ends);
  });
}

function flowUnit({ plan, selection }: CarriedCode): FlowUnit {
  const carried = new Set(selection.atoms);
  const { arch } = plan.patched;
  const others = new Set<Atom>(plan.changes.callbacks.map((callback) => callback.function));
  for (const { atom, redirected } of plan.changes.functions.values()) if (redirected) others.add(atom);
  for (const user of carried) {
    if (user.kind === "function" && user.symbols.some(({ binding }) => binding !== 0)) others.add(user);
    for (const reference of user.references) {
      const route = selection.route(user, reference);
      if (route.to === "inside" && route.atom.kind === "function" && !arch.isBranch(user, reference))
        others.add(route.atom);
    }
  }
  return { unit: plan.patched, carried, route: selection.route, hasOtherCallers: (atom) => others.has(atom) };
}

function treatmentOf(name: string, hasLockdep: boolean, btf: Btf | undefined): CalleeTreatment {
  const rule = keepsNoAddress.find(
    ({ names, withoutLockdep }) => names.test(name) && (withoutLockdep !== true || !hasLockdep),
  );
  if (rule !== undefined) {
    const positions = positionsOf(rule, name, btf);
    return {
      keeps: (position) => positions !== undefined && !positions.includes(position),
      copies: rule.copies === true,
      returns: (position) => rule.returns === true || rule.returns === position,
      preserves: rule.preserves === true,
    };
  }
  const read = readArguments(name, btf);
  return {
    keeps: (position) => read === undefined || position < read,
    copies: false,
    returns: () => false,
    preserves: false,
  };
}

/** Positions of the arguments that a function does not keep; undefined for all. */
function positionsOf(rule: AddressRule, callee: string, btf: Btf | undefined): readonly number[] | undefined {
  const { parameters: names, callsBack } = rule;
  if (names !== undefined) return positionsWhere(callee, btf, ({ name }) => names.includes(name));
  return callsBack === true
    ? positionsWhere(callee, btf, ({ type }, types) => isFunctionPointer(type, types))
    : rule.arguments;
}

/** Positions of the parameters that are so in every prototype of a function. */
function positionsWhere(
  callee: string,
  btf: Btf | undefined,
  isSo: (parameter: { readonly name: string; readonly type: number }, types: Btf) => boolean,
): readonly number[] {
  if (btf === undefined) return [];
  const [first, ...others] = btf
    .find(BtfKind.func, callee)
    .map((type) =>
      btf.parameters(btf.target(type)).flatMap((parameter, position) => (isSo(parameter, btf) ? [position] : [])),
    );
  return (first ?? []).filter((position) => others.every((positions) => positions.includes(position)));
}

function isFunctionPointer(type: number, btf: Btf): boolean {
  const pointer = btf.resolve(type);
  return btf.kind(pointer) === BtfKind.ptr && btf.kind(btf.resolve(btf.target(pointer))) === BtfKind.funcProto;
}

/** Those that keep the format, to format later (kernel/trace/trace_printk.c, lib/vsprintf.c). */
const keepsFormat = /bprintk|bprintf|trace_v?printk/;

/**
 * Position from which on a function keeps no argument, by its prototype: that of a format with its values behind it, which are read and gone when the
 * function returns, or that behind the last argument. Undefined when the kernel's types do not tell.
 */
function readArguments(name: string, btf: Btf | undefined): number | undefined {
  const prototypes = btf?.find(BtfKind.func, name) ?? [];
  if (btf === undefined || prototypes.length === 0) return undefined;
  const positions = prototypes.map((type) => {
    const parameters = btf.parameters(btf.target(type));
    const [format, rest] = parameters.slice(-2);
    const last = parameters.at(-1);
    if (last?.type === 0 && last.name === "") {
      const isFormat = rest !== undefined && format !== undefined && /fmt|format/.test(format.name);
      return isFormat && !keepsFormat.test(name) ? parameters.length - 2 : Number.POSITIVE_INFINITY;
    }
    // A small structure takes two registers.
    const isPlain = parameters.every(({ type: one }) => {
      const kind = btf.kind(btf.resolve(one));
      return kind !== BtfKind.struct && kind !== BtfKind.union;
    });
    return isPlain ? parameters.length : Number.POSITIVE_INFINITY;
  });
  return Math.max(...positions);
}

function warningsOf({ plan }: CarriedCode, ends: readonly AddressEnd[]): Warning[] {
  const places = placesOf(plan, ends);
  const warnings = new Map<string, Warning>();
  ends.forEach((end, index) => {
    const { user } = end.address;
    const place = places[index];
    const warning: Warning = {
      code: "ADDRESS_KEPT",
      function: coldParent(user.name) ?? user.name,
      unit: plan.pair.source,
      ...(place === undefined ? {} : { place }),
      why: whyKept(end),
      hint: "the patch module stays in memory until the next boot, so that what comes by this address later finds it; --removable says that nothing does",
    };
    const key = `${warning.function} ${warning.why}`;
    if (!warnings.has(key)) warnings.set(key, warning);
  });
  return [...warnings.values()];
}

/** Bytes of code before a place in which the unit's own line is looked for, where the place itself is in a function of a header. */
const inlinedReach = 96;

/** Source file and line of each place: that of the unit's own file, where a header's function was put in there. */
function placesOf({ patched, pair }: CarriedCode["plan"], ends: readonly AddressEnd[]): (string | undefined)[] {
  const file = pair.source.replace(/^.*\//, "");
  const at = ends.map(({ address: { user, offset } }) => ({
    section: user.section.index,
    offset: user.start + offset,
  }));
  const before = ends.map(({ address: { user } }, index) => {
    const { section, offset } = at[index] as (typeof at)[number];
    const start = Math.max(user.start, offset - inlinedReach);
    return Array.from({ length: offset - start }, (_, back) => ({ section, offset: offset - 1 - back }));
  });
  // All at once: each call reads the whole line table.
  const found = sourceLines(patched.elf, [...at, ...before.flat()]);
  let next = at.length;
  return found.slice(0, at.length).map((line, index) => {
    const { length } = before[index] as (typeof before)[number];
    const lines = found.slice(next, next + length);
    next += length;
    if (line === undefined) return undefined;
    if (line.file.endsWith(file)) return `${pair.source}:${line.line}`;
    const own = lines.find((earlier) => earlier?.file.endsWith(file) === true);
    return own === undefined ? `${line.file}:${line.line}` : `${pair.source}:${own.line}`;
  });
}

function whyKept({ address: { target }, end, callee }: AddressEnd): string {
  const what = `the address of ${describe(target)}, which is in the patch module,`;
  switch (end) {
    case "stored":
      return `it stores ${what} in memory`;
    case "on-stack":
      return `it puts ${what} into an object on its stack that is used elsewhere`;
    case "passed":
      return `it passes ${what} to ${callee ?? "a function that it calls through a pointer"}, which may keep it`;
    case "returned":
      return `it returns ${what} to its callers`;
  }
}

/** Longest text that is shown whole. */
const shownText = 40;

function describe(target: Atom): string {
  if (target.kind === "function") return `${target.name}()`;
  if (target.symbol !== undefined) return target.name;
  if (target.kind !== "string") return "a constant";
  const text = Buffer.from(target.bytes).toString("latin1").replace(/\0.*$/s, "");
  return `the text ${JSON.stringify(text.length > shownText ? `${text.slice(0, shownText)}…` : text)}`;
}
