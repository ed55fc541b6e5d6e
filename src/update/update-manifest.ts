import { z } from "zod";

const digest = z.string().regex(/^[0-9a-f]{64}$/);
const line = z.string().max(4096);
const path = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9._+/-]{0,400}$/);

/** An identifier of an update; it is part of a module's and of a file's name. */
export const updateIdPattern: RegExp = /^[A-Za-z0-9][A-Za-z0-9_-]{0,46}$/;

const moduleSchema = z.strictObject({
  name: z.string().regex(/^[A-Za-z0-9_-]{1,55}$/),
  file: path,
  sha256: digest,
});

const schema = z.strictObject({
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
  targets: z.array(z.string().regex(/^[\w-]{1,64}$/)),
  functions: z.array(
    z.strictObject({
      name: line,
      object: line,
      unit: line,
      sympos: z.int().min(0),
      change: z.enum(["changed", "new"]),
      proven: z.boolean(),
      reason: line,
    }),
  ),
  /** The patch module. */
  module: moduleSchema,
  /** Updates that have to be in force before this one, oldest first. */
  after: z.array(z.strictObject({ id: z.string().regex(updateIdPattern), sha256: digest })),
  /** Complete new modules for the file system. */
  modules: z.array(z.strictObject({ target: z.string().regex(/^[\w-]{1,64}$/), file: path })),
  /** SHA-256 of every other file. */
  files: z.record(path, digest),
});

/** What an update says about itself, in its file `manifest.json`. */
export type UpdateManifest = z.infer<typeof schema>;

/** Reads a manifest. @throws Error with one line for each thing that is wrong. */
export function parseUpdateManifest(text: string): UpdateManifest {
  const result = schema.safeParse(JSON.parse(text));
  if (result.success) return result.data;
  throw new Error(result.error.issues.map(({ path: where, message }) => `${where.join(".")}: ${message}`).join("\n"));
}
