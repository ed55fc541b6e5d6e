import type { Atom } from "../atoms.ts";

/** Names of functions that look for what they are given among what was registered before, by its address. */
const takesBack = /(^|_)(unregister|deregister|unhook|detach|unlink|remove|del|delete|withdraw)(_|$)/;

/** Those of them that go by names. */
const byName = /^(sysfs|device|driver|bus|class|proc|debugfs|kernfs|configfs|tracefs|cdev|of)_/;

/** The function that a call or jump at a place leads to, where it takes back what its arguments point at. */
export function takerBackOf(
  user: Atom,
  { offset, length }: { readonly offset: number; readonly length: number },
): string | undefined {
  const reference = user.references.find((each) => each.offset >= offset && each.offset < offset + length);
  const name = reference?.target.kind === "external" ? reference.target.name : undefined;
  return name !== undefined && takesBack.test(name) && !byName.test(name) ? name : undefined;
}

/** How many instructions behind the one that loads an address a comparison of the register is looked for. */
export const reach = 24;

/** A copy whose address a function compares. */
export interface ComparedCopy {
  readonly copy: Atom;
  /** The function that compares. */
  readonly by: string;
}
