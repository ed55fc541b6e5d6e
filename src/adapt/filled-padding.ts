import type { FilledPadding } from "../diff/layout/struct-change.ts";
import { lifeOf } from "./life.ts";
import type { Oracle } from "./oracle.ts";
import type { Obstacle } from "./soundness.ts";

/** Whether members in padding of a type read as zero in all objects that exist. */
export interface PaddingVerdict {
  /** Why they may not. */
  readonly obstacles: readonly Obstacle[];
  /** The evidence that they do, as one sentence. */
  readonly evidence: string;
}

/**
 * Looks at all that the kernel's own code does with whole objects of a type: it must create each with zeros in its padding, and never copy one over another
 * member by member.
 * @param definition file that defines the type.
 * @param members the new ones, which lie in padding of the kernel's layout.
 * @param oracle for the source of the kernel, as it was without the patch.
 */
export async function judgePadding(
  tag: string,
  definition: string,
  members: readonly FilledPadding[],
  oracle: Oracle,
): Promise<PaddingVerdict> {
  const { creations, statics, obstacles } = await lifeOf(tag, definition, oracle, new Map());
  // An element is as large as it was.
  const found = obstacles.filter(({ rule }) => rule !== "ARRAY");
  for (const { zeroes, file, line, function: name, call } of creations) {
    if (!zeroes) found.push({ rule: "NOT_ZEROED", file, line, function: name, values: { call: call.name } });
  }
  if (creations.length + statics.length === 0 && found.length === 0)
    found.push({ rule: "NO_CREATION", file: definition, line: 0, function: "", values: {} });
  const names = members.map(({ name, offset }) => `${name} at offset ${offset}`).join(", ");
  const places = creations.map(({ file, line, call }) => `${call.name}() at ${file}:${line}`);
  const all = [...places, ...statics.map((name) => `the static ${name}`)].join(", ");
  const evidence = `${names} lies in padding, which is zero in every object: all are made by ${all}, as ${oracle.units.length === 1 ? "the only unit" : `${oracle.units.length} units`} that sees the type shows`;
  return { obstacles: found, evidence };
}
