import { chmod, copyFile, cp, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { Bytes } from "../elf/bytes.ts";
import { ElfFormatError } from "../elf/format-error.ts";
import { byteOrder, readFileHeader } from "../elf/header.ts";
import { exists } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
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
}

/**
 * Makes a newc archive (Documentation/driver-api/early-userspace/buffer-format.rst) with a static busybox, without root. It holds no
 * device nodes: the kernel's built-in archive has /dev/console, the rest comes from devtmpfs.
 * @param folder an empty folder that gets the staged tree and the archive.
 * @returns path of the archive.
 */
export async function makeInitramfs(folder: string, content: InitramfsContent): Promise<string> {
  const root = join(folder, "root");
  await mkdir(join(root, "bin"), { recursive: true });
  await mkdir(join(root, "kmend", "modules"), { recursive: true });
  await mkdir(join(root, "kmend", "probes"), { recursive: true });
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
  const archive = join(folder, "initramfs.cpio");
  const names = [".", ...(await readdir(root, { recursive: true })).sort()];
  await run("cpio", ["--create", "--format=newc", "--owner=+0:+0", "--quiet", "--null", `--file=${archive}`], {
    cwd: root,
    input: `${names.join("\0")}\0`,
  });
  return archive;
}

async function findStaticBusybox(): Promise<string> {
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const candidate = join(folder, "busybox");
    if (folder === "" || !(await exists(candidate))) continue;
    if (!(await asksForLoader(candidate))) return candidate;
  }
  throw new KmendError({
    code: "NO_STATIC_BUSYBOX",
    message: "no statically linked busybox found",
    hint: "apt-get install busybox-static",
    exitCode: ExitCode.environment,
  });
}

/** PT_INTERP of a program header (gABI chapter 5): the program is dynamically linked, and the guest has no loader for it. */
async function asksForLoader(program: string): Promise<boolean> {
  const ptInterp = 3;
  try {
    const file = await readFile(program);
    const bytes = new Bytes(file, byteOrder(file) === "little");
    const header = readFileHeader(bytes);
    for (let index = 0; index < header.programHeaderCount; index++) {
      if (bytes.u32(header.programHeaderOffset + index * header.programHeaderSize) === ptInterp) return true;
    }
    return false;
  } catch (error) {
    if (error instanceof ElfFormatError) return true;
    throw error;
  }
}
