import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { readUnitObject } from "../diff/unit-object.ts";
import { matchUnit } from "../match/match-unit.ts";
import type { TargetObject } from "../match/target-object.ts";
import { run } from "../support/run.ts";
import { compileAll } from "../tree/compile.ts";
import { createShadow, foldersOf } from "../tree/shadow.ts";
import { unitCommands } from "../tree/unit-command.ts";
import { membershipOf } from "../tree/units.ts";
import type { Unresolved } from "./resolve.ts";
import { kbuildOf, type Workshop } from "./workshop.ts";

/** How many source files that may define a symbol are compiled before giving up. */
const definerLimit = 24;

/**
 * Settles which of several equally named symbols is the global one that new code means: the units that may define it are compiled unpatched and matched,
 * and the one that holds it as a global symbol tells its address.
 * @returns addresses by name; a name that stays open is missing.
 */
export async function settleAmbiguous(
  symbols: readonly Unresolved[],
  workshop: Workshop,
  open: (object: string) => Promise<TargetObject>,
): Promise<Map<string, number>> {
  const settled = new Map<string, number>();
  for (const { name, object } of symbols) {
    if (settled.has(name)) continue;
    const target = await open(object);
    for (const source of await possibleDefiners(name, workshop)) {
      const file = await compileOriginal(source, workshop, settled.size);
      if (file === undefined) continue;
      const unit = await readUnitObject(file);
      const atom = unit.atoms.find((candidate) =>
        candidate.symbols.some((symbol) => symbol.name === name && symbol.binding !== 0),
      );
      if (atom === undefined) continue;
      const address = (await matchUnit(unit, target)).addressOf(atom);
      if (address !== undefined) settled.set(name, address);
      break;
    }
  }
  return settled;
}

/** Source files that have the name at the start of a line or behind a type, not followed by a call's semicolon: likely definitions first. */
async function possibleDefiners(name: string, { tree, signal }: Workshop): Promise<string[]> {
  const pattern = `^[A-Za-z_][A-Za-z0-9_ \\t*]*\\b${name}[ \\t]*([(=\\[;]|__[a-z])|^${name}[ \\t]*\\(|DEFINE[A-Z_]*\\(([A-Za-z0-9_ *]*, *)?${name}\\b`;
  const folders = [
    "arch/x86",
    "block",
    "crypto",
    "drivers",
    "fs",
    "init",
    "io_uring",
    "ipc",
    "kernel",
    "lib",
    "mm",
    "net",
    "security",
    "sound",
    "virt",
  ];
  const result = await run("grep", ["-rlE", "--include=*.c", pattern, ...folders], {
    cwd: tree.path,
    allowFailure: true,
    signal,
  });
  return result.stdout.split("\n").filter(Boolean).sort().slice(0, definerLimit);
}

async function compileOriginal(source: string, workshop: Workshop, number: number): Promise<Uint8Array | undefined> {
  const { tree, folder, cache } = workshop;
  const command = await cache.command(source);
  const known = command === undefined ? undefined : await cache.object(command);
  if (known !== undefined) return known;
  const member = (await membershipOf(kbuildOf(workshop), [source])).get(source);
  if (member === undefined || member.kind === "not-built") return undefined;
  const shadow = join(folder, `definer-${number}-${source.replaceAll("/", "_")}`);
  createShadow(tree.path, shadow, new Map(), foldersOf(member.object));
  const [unit] = await unitCommands(tree, shadow, [{ source, object: member.object }], workshop);
  if (unit === undefined) return undefined;
  await compileAll(tree, [{ unit, folder: shadow }], workshop);
  const object = await readFile(join(shadow, member.object));
  await cache.keepObject(unit, object);
  await cache.keepCommand(unit);
  return object;
}
