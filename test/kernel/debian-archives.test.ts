import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Debian } from "../../src/kernel/sources/distribution/debian.ts";
import type { DistributionContext, KernelRequest } from "../../src/kernel/sources/distribution/distribution.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import { FakeArchive } from "./fake-archive.ts";

let root: string;
let archive: FakeArchive;
let context: DistributionContext;
let progress: SilentProgress;
const environment = { ...process.env };

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kmend-debian-"));
  archive = await FakeArchive.create(join(root, "archive"));
  progress = new SilentProgress();
  context = { cache: join(root, "cache"), progress };
  vi.spyOn(process, "getuid").mockReturnValue(0);
});
afterEach(async () => {
  process.env["PATH"] = environment["PATH"];
  vi.restoreAllMocks();
  await rm(root, { recursive: true, force: true });
});

const debian = (sources?: string): Debian => new Debian({ root: join(root, "machine"), sources }, "amd64");
const asked = (release: string): KernelRequest => ({ kind: "release", release });

const offerTwoKernels = (): Promise<void> => archive.offerTwoKernels();

describe("the newest", () => {
  const newest = (series?: string): Promise<string> => debian().newest(context, series);

  test("is that of the meta package's version that apt would install, and of another series the newest with source", async () => {
    await offerTwoKernels();
    await archive.offerKernel("6.12.9+deb12-amd64", "6.12.9-1~bpo12+1");
    await archive.offerKernel("6.12.9+deb12-cloud-amd64", "6.12.9-2~bpo12+1");
    await archive.offerKernel("6.12.11+deb12-amd64", "6.12.11-1~bpo12+1", false);
    await archive.offerKernel("6.13.2+deb12-amd64", "6.13.2-1~bpo12+1", false);
    expect(await newest()).toBe("6.1.0-10-amd64");
    expect(await newest("6.1")).toBe("6.1.0-10-amd64");
    expect(await newest("6.12")).toBe("6.12.9+deb12-amd64");
    expect(await newest("6.13")).toBe("6.13.2+deb12-amd64");
    expect((await debian().fetch({ kind: "newest", series: "6.12" }, context)).release).toBe("6.12.9+deb12-amd64");
    await expect(newest("6.14")).rejects.toMatchObject({
      code: "KERNEL_NOT_OFFERED",
      why: "there are kernels of 6.1, 6.12, 6.13",
      hint: expect.stringContaining("--series"),
      exitCode: 2,
    });
  });

  test("is not one that only an earlier run has unpacked, while the archive has others of its series", async () => {
    await archive.offerKernel("6.1.0-10-amd64", "6.1.38-4");
    await debian().fetch(asked("6.1.0-10-amd64"), context);
    await rm(join(context.cache, "catalog"), { recursive: true });
    await archive.forget();
    await archive.offerKernel("6.1.0-9-amd64", "6.1.27-1");
    expect(await newest("6.1")).toBe("6.1.0-9-amd64");
  });
});

describe("archives of a file", () => {
  const stanza = "Types: deb\nURIs: https://deb.example.org/\nSuites: some\nComponents: main\nSigned-By: /keys.gpg\n";

  async function sources(text = stanza): Promise<string> {
    await writeFile(join(root, "some.sources"), text);
    return join(root, "some.sources");
  }

  async function calls(): Promise<string[]> {
    return (await readFile(join(archive.folder, "log"), "utf8")).trimEnd().split("\n");
  }

  beforeEach(async () => {
    vi.mocked(process.getuid as () => number).mockReturnValue(1000);
    await offerTwoKernels();
    await archive.forget();
  });

  test("are asked with lists of their own in the cache, fetched once and without root", async () => {
    const file = await sources();
    expect(await debian(file).newest(context)).toBe("6.1.0-10-amd64");
    await debian(file).fetch(asked("6.1.0-9-amd64"), context);
    const words = await calls();
    expect(words).toHaveLength(2);
    const [folder = ""] = await readdir(join(context.cache, "archives"));
    const own = join(context.cache, "archives", folder);
    for (const word of words) {
      expect(word).toContain(` -o Dir::State=${own} `);
      expect(word).toContain(` -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=${own}/etc/sources.list.d `);
    }
    expect(words.map((word) => / (update|download .*)$/.exec(word)?.[1])).toEqual([
      "update",
      "download linux-image-6.1.0-9-amd64=6.1.27-1 linux-headers-6.1.0-9-amd64=6.1.27-1",
    ]);
    expect(await readFile(join(own, "etc/sources.list.d/archive.sources"), "utf8")).toBe(stanza);
  });

  test("what comes from them is no kernel of this machine", async () => {
    await debian(await sources()).fetch(asked("6.1.0-9-amd64"), context);
    await rm(join(context.cache, "catalog"), { recursive: true });
    await archive.forget();
    await expect(debian().kernels(context)).rejects.toMatchObject({ code: "LISTS_EMPTY" });
  });

  test("nothing that is installed here counts, and catalogues are kept apart", async () => {
    await archive.install("linux-image-6.1.0-9-amd64 6.1.27-1", "linux-image-6.1.0-8-amd64 6.1.25-1");
    const kernels = await debian(await sources()).kernels(context);
    expect(kernels.map(({ release, installed }) => [release, installed])).toEqual([
      ["6.1.0-9-amd64", false],
      ["6.1.0-10-amd64", false],
    ]);
    expect((await debian().kernels(context)).map(({ release }) => release)).toContain("6.1.0-8-amd64");
  });

  test("lists of another day are fetched again; where that fails those that are there are used, with a note", async () => {
    const file = await sources();
    await debian(file).newest(context);
    const [folder = ""] = await readdir(join(context.cache, "archives"));
    const stamp = join(context.cache, "archives", folder, "updated");
    const old = new Date(Date.now() - 2 * 24 * 60 * 60 * 1000);
    await utimes(stamp, old, old);
    await debian(file).newest(context);
    await utimes(stamp, old, old);
    await archive.failUpdates(
      "E: Failed to fetch https://deb.example.org/some/InRelease  Could not resolve 'deb.example.org'",
    );
    expect(await debian(file).newest(context)).toBe("6.1.0-10-amd64");
    expect(await archive.commands()).toEqual(["update", "update", "update"]);
    expect(progress.notes.join()).toMatch(/of an earlier run are used: the package archive cannot be reached/);
  });

  test.each([
    [
      "E: Failed to fetch https://deb.example.org/some/InRelease  Could not resolve 'deb.example.org'",
      "NO_NETWORK",
      /network/,
    ],
    ["E: The repository 'https://deb.example.org some InRelease' is not signed.", "ARCHIVE_UNVERIFIED", /Signed-By/],
  ])("%s", async (said, code, hint) => {
    await archive.failUpdates(said);
    await expect(debian(await sources()).newest(context)).rejects.toMatchObject({
      code,
      hint: expect.stringMatching(hint),
      exitCode: 5,
    });
  });

  test("without a kernel: the file is named, and not this machine's lists", async () => {
    await writeFile(join(archive.folder, "archive"), "");
    const file = await sources();
    await expect(debian(file).newest(context)).rejects.toMatchObject({
      code: "LISTS_EMPTY",
      message: `the package lists of ${file} offer no kernel`,
      hint: expect.stringContaining(`check URIs, Suites and Components in ${file}`),
      exitCode: 5,
    });
  });

  test("a file that is missing, or in another form, is wrong usage", async () => {
    const missing = join(root, "missing.sources");
    for (const file of [missing, await sources("deb https://deb.example.org/ some main\n")]) {
      await expect(debian(file).newest(context)).rejects.toMatchObject({
        code: "ARCHIVE_FILE",
        where: file,
        hint: expect.stringContaining("Signed-By"),
        exitCode: 2,
      });
    }
  });
});
