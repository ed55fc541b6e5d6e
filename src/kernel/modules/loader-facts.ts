import { z } from "zod";
import { ElfReader } from "../../elf/reader.ts";
import { readModinfo } from "../../patch-module/modinfo.ts";
import { cacheRoot } from "../../support/cache.ts";
import { rememberOfFile } from "../image/file-digest.ts";
import { ShippedModules } from "./shipped-module.ts";

/** What the kernel's module loader compares with itself before it takes a module: it tells headers and configuration apart. */
export interface LoaderFacts {
  /** modinfo's `vermagic`; null where it has none. */
  readonly vermagic: string | null;
  /** Size of `struct module` in bytes; null where it has none. */
  readonly structSize: number | null;
}

const factsSchema = z.strictObject({ vermagic: z.string().nullable(), structSize: z.number().nullable() });

/** @throws ElfFormatError */
export function loaderFactsOf(elf: ElfReader): LoaderFacts {
  return {
    vermagic: readModinfo(elf).get("vermagic")?.[0] ?? null,
    structSize: elf.section(".gnu.linkonce.this_module")?.size ?? null,
  };
}

/**
 * The facts of some module that the target kernel ships, which loads into it. They are remembered, since unpacking a module takes longer than anything
 * else in a check.
 * @param modulesDir folder of the kernel's modules.
 * @returns undefined when it ships none.
 */
export async function shippedLoaderFacts(
  modulesDir: string | undefined,
  signal?: AbortSignal,
): Promise<LoaderFacts | undefined> {
  const modules = await ShippedModules.open(modulesDir);
  const some = await modules.anyPresent();
  if (some === undefined) return undefined;
  const find = async (): Promise<string> =>
    JSON.stringify(loaderFactsOf(new ElfReader(await modules.read(some, signal))));
  const isValid = (text: string): boolean => parsed(text) !== undefined;
  return parsed(await rememberOfFile(await modules.pathOf(some), cacheRoot(), { kind: "loader-facts", isValid, find }));
}

function parsed(text: string): LoaderFacts | undefined {
  try {
    return factsSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
