import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { findTargetKernel } from "../../src/kernel/find.ts";
import type { Kallsyms } from "../../src/kernel/image/kallsyms.ts";
import { Debian } from "../../src/kernel/sources/distribution/debian.ts";
import { cacheRoot, temporaryBeside } from "../../src/support/cache.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import { run } from "../../src/support/run.ts";
import { Scratch } from "./stock-kernel.ts";

/** The debug packages have 860 MB each. */
const asked = process.env["KMEND_LONG_TESTS"] === "1";
const scratch = new Scratch();
afterAll(() => scratch.remove());

const releases = asked ? await newestReleases(/^6\.1\.0-\d+-amd64$/, /^6\.12\.\d+\+deb\d+-amd64$/) : [];

async function newestReleases(...patterns: readonly RegExp[]): Promise<string[]> {
  const kernels = await new Debian().kernels({ cache: cacheRoot(), progress: new SilentProgress() });
  return patterns.flatMap((pattern) => kernels.filter(({ release }) => pattern.test(release)).at(-1)?.release ?? []);
}

describe.skipIf(!asked)("every symbol is that of the debug package's System.map", () => {
  test.each(releases)("%s", { timeout: 3_600_000 }, async (release) => {
    const kernel = await findTargetKernel({ kernel: release });
    const map = await systemMap(release, kernel.packageVersion);
    const { compared, different } = compare(map, kernel.image.kallsyms());
    console.log(`${release}: ${compared} entries compared`);
    expect(different).toEqual([]);
    expect(compared).toBe(kernel.image.kallsyms().count);
    expect(compared).toBeGreaterThan(80_000);
  });

  test("two kernels were compared", () => {
    expect(releases).toHaveLength(2);
  });
});

/** The debug package's `System.map`, which is kept in the cache; the package itself is not. */
async function systemMap(release: string, version: string): Promise<string> {
  const folder = join(cacheRoot(), "system-maps");
  const kept = join(folder, `${release}_${version}`);
  const known = await readFile(kept, "latin1").catch(() => undefined);
  if (known !== undefined) return known;
  await mkdir(folder, { recursive: true });
  const download = scratch.folder();
  await run("apt-get", ["-q", "-o", "APT::Sandbox::User=root", "download", `linux-image-${release}-dbg=${version}`], {
    cwd: download,
  });
  const [archive] = await readdir(download);
  const temporary = temporaryBeside(kept);
  await extract(join(download, archive ?? ""), `./usr/lib/debug/boot/System.map-${release}`, temporary);
  await rm(download, { recursive: true });
  await rename(temporary, kept);
  return readFile(kept, "latin1");
}

/** Writes one file of a deb without unpacking the others, which have gigabytes. */
async function extract(archive: string, member: string, path: string): Promise<void> {
  const pipe = 'dpkg-deb --fsys-tarfile "$1" | tar -x -O -f - "$2" >"$3"';
  await run("sh", ["-c", pipe, "sh", archive, member, path]);
}

/**
 * Compares all entries of both lists. System.map also holds link-time constants, and in some versions what the tables themselves are called; per-CPU
 * symbols have the letter of their section in one and `A` in the other.
 */
function compare(map: string, kallsyms: Kallsyms): { compared: number; different: string[] } {
  const hidden =
    /^(kallsyms_(offsets|relative_base|num_syms|names|markers|seqs_of_names|token_table|token_index)|init_per_cpu__\w+|phys_startup_64|text_size|kexec_control_code_size)$/;
  const row = (address: string, type: string, name: string): string =>
    `${address} ${address.startsWith("00000000") ? "" : type} ${name}`;
  const expected = map
    .trimEnd()
    .split("\n")
    .map((line) => line.split(" ") as [string, string, string])
    .flatMap(([address, type, name]) =>
      hidden.test(name) && kallsyms.indicesOf(name).length === 0 ? [] : [row(address, type, name)],
    )
    .sort();
  const found = Array.from({ length: kallsyms.count }, (_, index) => {
    const address = BigInt.asUintN(64, BigInt(kallsyms.addressOf(index)));
    return row(address.toString(16).padStart(16, "0"), kallsyms.typeOf(index), kallsyms.nameOf(index));
  }).sort();
  const different = expected.length === found.length ? [] : [`${expected.length} and ${found.length} entries`];
  for (const [index, line] of expected.entries()) {
    if (different.length > 20) break;
    if (line !== found[index]) different.push(`${line} | ${found[index]}`);
  }
  return { compared: found.length, different };
}
