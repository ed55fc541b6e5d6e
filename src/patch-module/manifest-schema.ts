import * as z from "zod/mini";
import { isTooDeep } from "../support/json-depth.ts";
import type {
  Manifest,
  ManifestAdaptation,
  ManifestFunction,
  ManifestModule,
  ManifestStop,
  ManifestSymbol,
} from "./manifest.ts";

/** `vmlinux`, or a module's name, which is also part of paths in sysfs. */
const object = z.string().check(z.regex(/^[\w-]{1,64}$/));
/** As `uname -r` prints it. */
const release = z.string().check(z.regex(/^[^\s/\p{Cc}]{1,64}$/u));
/** Symbols have at most 511 characters (KSYM_NAME_LEN of include/linux/kallsyms.h). */
const symbol = z.string().check(z.regex(/^[^\s,\p{Cc}]{1,511}$/u));
/** A name that a user gave; it may hold any character. */
const text = z.string().check(z.maxLength(4096));
/** Words of kmend itself, which belong on one line. */
const line = z.string().check(z.maxLength(4096), z.regex(/^\P{Cc}*$/u));
const version = z.string().check(z.regex(/^[\w.+~-]{1,64}$/));
const digest = z.string().check(z.regex(/^(?:[0-9a-f]{64})?$/));
const address = z.string().check(z.regex(/^(?:0x)?[0-9a-f]{1,16}$/));
const count = z.int().check(z.gte(0));
const named = z.looseObject({ name: text, sha256: digest });
const kernelModule = z.looseObject({ name: object, sha256: digest });

type ShapeOf<Type> = Record<keyof Type, z.ZodMiniType>;

const functionShape = {
  ...{ name: symbol, object, unit: line, sympos: count, address, bytes: count, sha256: digest },
  surroundings: z.optional(digest),
  calledDirectly: z.optional(z.boolean()),
};
const moduleShape = {
  name: object,
  buildId: z.optional(z.string().check(z.regex(/^[0-9a-f]{2,128}$/))),
  srcversion: z.optional(z.string().check(z.regex(/^\w{1,64}$/))),
};
const adaptationShape = { patch: z.string().check(z.maxLength(1 << 20)), assumptions: z.array(line) };
const objectLayout = z.looseObject({ size: count, name: count, funcs: count });
const funcLayout = z.looseObject({ size: count, oldName: count, newFunc: count, sympos: count });
const stopShape = {
  reason: z.optional(line),
  log: z.boolean(),
  answers: z.array(line),
  counters: z.array(z.string().check(z.regex(/^\w{1,600}$/))),
  layout: z.looseObject({ object: objectLayout, func: funcLayout }),
};
const symbolShape = { name: symbol, object, sympos: count, address: z.optional(address) };

/** Every field of a manifest has its row; what a newer kmend adds is kept as it is. */
const shape = {
  schema: z.literal(1),
  kmend: version,
  seal: z.optional(z.string().check(z.regex(/^[0-9a-f]{64}$/))),
  kernel: z.looseObject({ release, buildId: z.string().check(z.regex(/^[0-9a-f]{0,128}$/)) }),
  replace: z.boolean(),
  allowedLayouts: z.array(line),
  patches: z.array(named),
  cves: z.optional(z.array(z.string().check(z.regex(/^CVE-\d{4}-\d{4,10}$/)))),
  adapted: z.optional(z.looseObject(adaptationShape satisfies ShapeOf<ManifestAdaptation>)),
  after: z.optional(z.array(kernelModule)),
  external: z.optional(kernelModule),
  modules: z.optional(z.array(z.looseObject(moduleShape satisfies ShapeOf<Required<ManifestModule>>))),
  keptAddresses: z.optional(z.array(line)),
  removable: z.optional(z.literal(true)),
  stop: z.optional(z.looseObject(stopShape satisfies ShapeOf<Required<ManifestStop>>)),
  functions: z.array(z.looseObject(functionShape satisfies ShapeOf<ManifestFunction>)),
  symbols: z.array(z.looseObject(symbolShape satisfies ShapeOf<ManifestSymbol>)),
} satisfies ShapeOf<Required<Manifest>>;

const schema: z.ZodMiniType<Manifest> = z.looseObject(shape);

/** A manifest, or what is wrong with it in a sentence. */
export function checkManifest(value: unknown): Manifest | { readonly problem: string } {
  if (isTooDeep(value)) return { problem: "it has lists in lists without end" };
  const result = schema.safeParse(value);
  if (result.success) {
    const strange = Object.keys(result.data).find((key) => !Object.hasOwn(shape, key));
    // Versions that noted no digest of the file wrote no other fields than these: one that is unknown may be what the digest has become.
    if (result.data.seal === undefined && strange !== undefined)
      return { problem: "it has an unknown field and no digest" };
    return result.data;
  }
  const [issue] = result.error.issues;
  const where = issue?.path.map(String).join(".") ?? "";
  return { problem: `${where === "" ? "it" : where} is not what it has to be` };
}
