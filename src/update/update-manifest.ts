import { z } from "zod";
import { sha256 } from "../support/cache.ts";

const digest = z.string().regex(/^[0-9a-f]{64}$/);
const line = z.string().max(4096);
const path = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9._+/-]{0,400}$/);

/** An identifier of an update; it is part of a module's and of a file's name. */
export const updateIdPattern: RegExp = /^[A-Za-z0-9][A-Za-z0-9_-]{0,46}$/;

/** Most bytes of a manifest, and most entries of a list in it: an update of thousands of functions is far below. */
export const manifestSizeLimit = 8 * 1024 * 1024;
const most = 20_000;

const moduleSchema = z.strictObject({
  name: z.string().regex(/^[A-Za-z0-9_-]{1,55}$/),
  file: path,
  sha256: digest,
});

const shape = z.strictObject({
  schema: z.literal(1),
  id: z.string().regex(updateIdPattern),
  /** First line of the description; the whole is in the file `description`. */
  description: line,
  /** Tool and its version. */
  tool: line,
  /** Time of its newest input, ISO 8601 in UTC. */
  created: z.string().regex(/^\d{4,6}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
  kernel: z.strictObject({ release: z.string().regex(/^[\w.+~-]{1,64}$/), buildId: z.string().regex(/^[0-9a-f]*$/) }),
  /** `vmlinux` and names of kernel modules. */
  targets: z
    .array(z.string().regex(/^[\w-]{1,64}$/))
    .min(1)
    .max(most),
  functions: z
    .array(
      z.strictObject({
        name: line,
        object: line,
        unit: line,
        sympos: z.int().min(0),
        change: z.enum(["changed", "new"]),
        proven: z.boolean(),
        reason: line,
      }),
    )
    .min(1)
    .max(most),
  /** The patch module. */
  module: moduleSchema,
  /** Updates that have to be in force before this one, oldest first. */
  after: z.array(z.strictObject({ id: z.string().regex(updateIdPattern), sha256: digest })).max(most),
  /** Complete new modules for the file system. */
  modules: z.array(z.strictObject({ target: z.string().regex(/^[\w-]{1,64}$/), file: path })).max(most),
  /** SHA-256 of every other file. */
  files: z.record(path, digest),
  /** SHA-256 of all of the above: what was changed on the way is not read as something else. */
  digest,
});

/** Parts that say the same have to agree: what is loaded is named after the identifier, and what a person is shown is what is loaded. */
const schema = shape.superRefine((manifest, context) => {
  const { id, module, targets, functions, after, modules } = manifest;
  const wrong = (where: string, message: string): void =>
    void context.addIssue({ code: "custom", path: [where], message });
  if (module.name !== `ksplice-${id}` || module.file !== `${module.name}.ko`)
    wrong("module", `is not that of update ${id}`);
  const objects = [...new Set(functions.map(({ object }) => object))].sort();
  if (objects.join(" ") !== targets.join(" ")) wrong("targets", "are not the objects of the functions");
  if (!isUnique(after.map((earlier) => earlier.id)) || after.some((earlier) => earlier.id === id)) {
    wrong("after", "names an update twice, or this one");
  }
  if (!isUnique(modules.map(({ target }) => target))) wrong("modules", "names a module twice");
  for (const { target, file } of modules)
    if (file !== `modules/${target}.ko`) wrong("modules", `${target} is elsewhere`);
  if (sealManifest(manifest).digest !== manifest.digest) wrong("digest", "is not that of the manifest");
});

function isUnique(names: readonly string[]): boolean {
  return new Set(names).size === names.length;
}

/** What an update says about itself, in its file `manifest.json`. */
export type UpdateManifest = z.infer<typeof shape>;

/** A manifest with the digest of its values, whatever their order. */
export function sealManifest(manifest: Omit<UpdateManifest, "digest"> & { readonly digest?: string }): UpdateManifest {
  const { digest: _, ...values } = manifest;
  const ordered = JSON.stringify(values, (_key, value: unknown) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)))
      : value,
  );
  return { ...values, digest: sha256(Buffer.from(ordered)) };
}

/** Reads a manifest. @throws Error with one line for each thing that is wrong. */
export function parseUpdateManifest(text: string): UpdateManifest {
  const result = schema.safeParse(JSON.parse(text));
  if (result.success) return result.data;
  throw new Error(result.error.issues.map(({ path: where, message }) => `${where.join(".")}: ${message}`).join("\n"));
}

/** Name of an update's module as the kernel counts it. */
export function kernelNameOf(manifest: Pick<UpdateManifest, "module">): string {
  return manifest.module.name.replaceAll("-", "_");
}
