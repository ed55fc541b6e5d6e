import { chmod, copyFile, cp, readdir, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ExitCode, KmendError } from "../support/errors.ts";
import { findProgram, isStaticProgram } from "../support/find-program.ts";
import { makeFolder } from "../support/make-folder.ts";
import { run } from "../support/run.ts";

/** What goes into the guest's first file system besides busybox. */
export interface InitramfsContent {
  /** Text of /init. */
  readonly init: string;
  /** Becomes /kmend/patch.ko. */
  readonly patchModule?: string | undefined;
  /** Become /kmend/modules/0.ko …, already decompressed. */
  readonly modules?: readonly string[] | undefined;
  /** Become /kmend/probes/0 …. */
  readonly probes?: readonly string[] | undefined;
  /** Further files: path in the guest, without the first slash, to path here. */
  readonly files?: ReadonlyMap<string, string> | undefined;
}

/**
 * Makes a newc archive (Documentation/driver-api/early-userspace/buffer-format.rst) with a static busybox, without root. It holds no
 * device nodes: the kernel's built-in archive has /dev/console, the rest comes from devtmpfs.
 * @param folder an empty folder that gets the staged tree and the archive.
 * @returns path of the archive.
 */
export async function makeInitramfs(folder: string, content: InitramfsContent): Promise<string> {
  const root = join(folder, "root");
  await makeFolder(join(root, "bin"));
  await makeFolder(join(root, "kmend", "modules"));
  await makeFolder(join(root, "kmend", "probes"));
  const busybox = join(root, "bin", "busybox");
  await copyFile(await findStaticBusybox(), busybox);
  await chmod(busybox, 0o755);
  await symlink("busybox", join(root, "bin", "sh"));
  await writeFile(join(root, "init"), content.init, { mode: 0o755 });
  if (content.patchModule !== undefined) await cp(content.patchModule, join(root, "kmend", "patch.ko"));
  for (const [index, file] of (content.modules ?? []).entries()) {
    await cp(file, join(root, "kmend", "modules", `${index}.ko`));
  }
  for (const [index, command] of (content.probes ?? []).entries()) {
    await writeFile(join(root, "kmend", "probes", String(index)), command);
  }
  for (const [path, source] of content.files ?? []) {
    await makeFolder(dirname(join(root, path)));
    await copyFile(source, join(root, path));
  }
  const archive = join(folder, "initramfs.cpio");
  const names = [".", ...(await readdir(root, { recursive: true })).sort()];
  await run("cpio", ["--create", "--format=newc", "--owner=+0:+0", "--quiet", "--null", `--file=${archive}`], {
    cwd: root,
    input: `${names.join("\0")}\0`,
  });
  return archive;
}

async function findStaticBusybox(): Promise<string> {
  const path = await findProgram("busybox", isStaticProgram);
  if (path !== undefined) return path;
  throw new KmendError({
    code: "NO_STATIC_BUSYBOX",
    message: "no statically linked busybox found",
    why: "the guest has no libraries that a dynamically linked one could use",
    hint: "kmend doctor shows the command that installs it",
    exitCode: ExitCode.environment,
  });
}
