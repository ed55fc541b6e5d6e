import { chmod, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exists, rethrowDiskErrors } from "../../support/cache.ts";
import { findProgram } from "../../support/find-program.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { run } from "../../support/run.ts";
import type { PatchFile } from "../load/patch-file.ts";
import { insertFolder } from "./run-folder.ts";

/** Security modules that look at a file's attributes before the kernel may read a module from it: its type, or its own signature. */
const attributeReaders = ["/sys/fs/selinux/enforce", "/sys/kernel/security/ima"];

/**
 * Gives `work` a copy of a module with the very bytes that were checked, where nobody but root can exchange them before the kernel reads them.
 * @throws KmendError `NO_SPACE`, `NOT_WRITABLE`
 */
export async function withPrivateCopy<Result>(
  root: string,
  file: PatchFile,
  work: (copy: string) => Promise<Result>,
): Promise<Result> {
  const folder = join(root, insertFolder);
  const copy = join(folder, `${file.name}.ko`);
  try {
    await rm(folder, { recursive: true, force: true });
    await makeFolder(folder, 0o700);
    await chmod(folder, 0o700);
    await writeFile(copy, file.content, { flag: "wx", mode: 0o600 });
  } catch (error) {
    rethrowDiskErrors(error);
  }
  try {
    await copyAttributes(root, file.path, copy);
    return await work(copy);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function copyAttributes(root: string, from: string, to: string): Promise<void> {
  const wanted = await Promise.all(attributeReaders.map((path) => exists(join(root, path))));
  const cp = wanted.includes(true) ? await findProgram("cp") : undefined;
  // What the kernel misses it refuses by itself, and says so.
  if (cp !== undefined) {
    await run(cp, ["--attributes-only", "--preserve=context,xattr", "--", from, to], { allowFailure: true });
  }
}
