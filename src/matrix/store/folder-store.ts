import { randomBytes, randomUUID } from "node:crypto";
import { link, open, readdir, readFile, rm, stat } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { z } from "zod";
import { exists, rethrowDiskErrors } from "../../support/cache.ts";
import { ExitCode, KmendError, systemErrorCode } from "../../support/errors.ts";
import { entriesBelow } from "../../support/find-files.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { requireOutputFolder } from "../../support/output-folder.ts";
import { type Store, storeMark } from "./store.ts";

/** Folder of a store for what is being written. */
const unfinished = "unfinished";

/** What is unfinished for so long was left by somebody who was killed, in milliseconds. Other machines work in the folder too, so that a process says nothing. */
const abandonedMilliseconds = 24 * 3600 * 1000;

const markSchema = z.object({ schema: z.literal(1), id: z.string().min(1) });

/**
 * Opens a store in a folder, which is made where it is missing. It may be shared by machines: names appear by link(2), which is atomic on NFS too.
 * @throws KmendError `STORE_NOT_EMPTY`, `STORE_DAMAGED` (exit 2), `NOT_WRITABLE`, `NO_SPACE`
 */
export async function openFolderStore(folder: string): Promise<Store> {
  const root = resolve(folder);
  await makeFolder(root).catch(rethrowDiskErrors);
  await requireOutputFolder(root);
  const mark = join(root, storeMark);
  if (!(await exists(mark))) {
    const others = (await readdir(root)).filter((name) => name !== unfinished && !name.startsWith("."));
    if (others.length > 0) throw notAStore(root, others);
  }
  await makeFolder(join(root, unfinished)).catch(rethrowDiskErrors);
  await sweep(join(root, unfinished));
  await createFile(root, storeMark, Buffer.from(`${JSON.stringify({ schema: 1, id: randomUUID() })}\n`));
  const parsed = markSchema.safeParse(parseJson(await readFile(mark, "utf8")));
  if (!parsed.success) {
    throw new KmendError({
      code: "STORE_DAMAGED",
      message: `${mark} is not the mark of a store`,
      why: "a store of kmend has a file of that name with its id",
      hint: "choose another folder with --store DIR",
      exitCode: ExitCode.usage,
    });
  }
  return {
    id: parsed.data.id,
    place: root,
    read: (name) => readFile(join(root, name)).catch(absent),
    create: (name, content) => createFile(root, name, content),
    list: async (prefix) => {
      const entries = await entriesBelow(join(root, prefix)).catch(() => []);
      const files = entries.filter((entry) => entry.isFile());
      return files.map(({ parentPath, name }) => relative(root, join(parentPath, name))).sort();
    },
  };
}

function notAStore(root: string, others: readonly string[]): KmendError {
  return new KmendError({
    code: "STORE_NOT_EMPTY",
    message: `${root} holds something else than a store`,
    why: `it has ${others.slice(0, 3).join(", ")}, and no ${storeMark}`,
    hint: "choose an empty folder with --store DIR",
    exitCode: ExitCode.usage,
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function absent(error: unknown): undefined {
  if (systemErrorCode(error) === "ENOENT") return undefined;
  throw error;
}

/** Writes aside, and links into place: the name has its whole content, on the disk too, or does not exist. */
async function createFile(root: string, name: string, content: Uint8Array): Promise<"created" | "same" | "other"> {
  const path = join(root, name);
  const there = await readFile(path).catch(absent);
  if (there !== undefined) return there.equals(content) ? "same" : "other";
  const aside = join(root, unfinished, randomBytes(12).toString("hex"));
  try {
    await makeFolder(dirname(path));
    const file = await open(aside, "wx", 0o444);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await link(aside, path);
    return "created";
  } catch (error) {
    if (systemErrorCode(error) !== "EEXIST") {
      // A write that fails does not say where.
      if (error instanceof Error && !("path" in error)) Object.assign(error, { path });
      rethrowDiskErrors(error);
    }
    return (await readFile(path)).equals(content) ? "same" : "other";
  } finally {
    await rm(aside, { force: true }).catch(() => {});
  }
}

async function sweep(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined && Date.now() - found.mtimeMs > abandonedMilliseconds) await rm(path, { force: true });
  }
}
