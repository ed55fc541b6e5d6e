import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, type FSWatcher, lstatSync, readdirSync, readFileSync, rmSync, watch } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { kmend } from "../cli/captured.ts";
import { smallModule } from "../update/small-module.ts";
import { gpgHome, runProgram } from "./fresh-root.ts";
import { Scratch } from "./stock-kernel.ts";

const long = process.env["KMEND_LONG_TESTS"] === "1";
const launcher = fileURLToPath(new URL("../../bin/kmend", import.meta.url));
const signer = "live-patches@example.org";
const scratch = new Scratch();
let home: string;
let module: string;

beforeAll(() => {
  home = gpgHome(signer);
  module = smallModule(scratch.folder(), { name: "livepatch-fix", release: "6.1.0-1-amd64" });
});
afterAll(() => {
  runProgram("gpgconf", ["--kill", "all"]);
  delete process.env["GNUPGHOME"];
  rmSync(home, { recursive: true, force: true });
  scratch.remove();
});

function digest(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

async function packaged(format: string, version: string): Promise<string> {
  const output = scratch.folder();
  const { exitCode, stderr } = await kmend(
    "package",
    "--format",
    format,
    "--set-version",
    version,
    "-o",
    output,
    module,
  );
  expect(exitCode, stderr).toBe(0);
  return join(output, readdirSync(output)[0] as string);
}

/** Packages of a dnf repository as a client sees them: everything that the index names is there, whole, and the index is signed. */
function readDnf(repository: string): string[] {
  const index = join(repository, "repodata");
  const entry = join(index, "repomd.xml");
  const checked = runProgram("gpg", ["--batch", "--verify", `${entry}.asc`, entry]);
  expect(checked.exitCode, checked.output).toBe(0);
  const text = readFileSync(entry, "utf8");
  const parts = [...text.matchAll(/<checksum type="sha256">(\w+)<\/checksum>[\s\S]*?<location href="([^"]+)"/g)];
  expect(parts.length).toBeGreaterThan(3);
  for (const [, sum, href] of parts) expect(digest(join(repository, href as string)), href).toBe(sum);
  const primary = parts.find(([, , href]) => href?.endsWith("primary.xml.gz"))?.[2] as string;
  const list = gunzipSync(readFileSync(join(repository, primary))).toString("utf8");
  const packages = [
    ...list.matchAll(/<checksum type="sha256" pkgid="YES">(\w+)<\/checksum>[\s\S]*?<location href="([^"]+)"/g),
  ];
  for (const [, sum, href] of packages) expect(digest(join(repository, href as string)), href).toBe(sum);
  return packages.map(([, , href]) => basename(href as string)).sort();
}

/** The same of an apt repository, whose clients fetch the list of packages by its digest. */
function readApt(repository: string): string[] {
  const folder = join(repository, "dists/stable");
  const checked = runProgram("gpg", ["--batch", "--verify", join(folder, "InRelease")]);
  expect(checked.exitCode, checked.output).toBe(0);
  const release = readFileSync(join(folder, "InRelease"), "utf8");
  const files = [...release.matchAll(/^ ([0-9a-f]{64}) +\d+ (\S+)$/gm)];
  const byHash = (name: string, sum: string) => join(folder, name, "..", "by-hash/SHA256", sum);
  expect(files.length).toBeGreaterThan(0);
  for (const [, sum, name] of files) expect(digest(byHash(name as string, sum as string)), name).toBe(sum);
  const [, sum, name] = files.find(([, , path]) => path?.endsWith("/Packages")) as RegExpMatchArray;
  const list = readFileSync(byHash(name as string, sum as string), "utf8");
  const packages = [...list.matchAll(/^Filename: (\S+)$[\s\S]*?^SHA256: (\w+)$/gm)];
  for (const [, file, wanted] of packages) expect(digest(join(repository, file as string)), file).toBe(wanted);
  return packages.map(([, file]) => basename(file as string)).sort();
}

const kinds = [
  { format: "rpm", read: readDnf },
  { format: "deb", read: readApt },
] as const;

/** Publishes a package in a process of its own that is killed when the repository changes for the `step`th time. @returns whether it came to its end. */
async function publish(repository: string, path: string, step: number): Promise<boolean> {
  const words = [launcher, "repo", "--quiet", "--gpg-key", signer, "--keep", "1", repository, path];
  const child: ChildProcess = spawn(process.execPath, words, { stdio: "ignore" });
  let changes = 0;
  const watchers: FSWatcher[] = [];
  // Each folder by itself: a recursive watch of Node 20 falls over folders that come and go.
  const look = (folder: string): void => {
    const watcher = watch(folder, (_event, name) => {
      changes++;
      if (changes === step) child.kill("SIGKILL");
      if (name?.startsWith("repodata-") === true && existsSync(join(folder, name))) look(join(folder, name));
    });
    watcher.on("error", () => watcher.close());
    watchers.push(watcher);
  };
  const entries = readdirSync(repository, { recursive: true, withFileTypes: true });
  for (const entry of entries) if (entry.isDirectory()) look(join(entry.parentPath, entry.name));
  look(repository);
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  for (const watcher of watchers) watcher.close();
  if (code !== null) expect(code).toBe(0);
  return code === 0;
}

test.each(kinds)(
  "kill -9 at any change leaves the old repository or the new one ($format)",
  async ({ format, read }) => {
    const [first, second] = [await packaged(format, "1"), await packaged(format, "2")];
    const start = join(scratch.folder(), "repository");
    expect(await publish(scratchRepository(start), first, 0)).toBe(true);
    const before = read(start);
    expect(before).toEqual([basename(first)]);
    // A change of each kind, or all of them.
    const stride = long ? 1 : 8;
    let killed = 0;
    const seen = new Set<string>();
    for (let step = 1; ; step += stride) {
      const repository = join(scratch.folder(), "repository");
      cpSync(start, repository, { recursive: true, verbatimSymlinks: true });
      const finished = await publish(repository, second, step);
      const now = read(repository);
      expect([before, [basename(second)]]).toContainEqual(now);
      seen.add(now.join());
      if (finished) break;
      killed++;
      // The next run needs no help.
      expect(await publish(repository, second, 0)).toBe(true);
      expect(read(repository)).toEqual([basename(second)]);
      const left = readdirSync(repository, { recursive: true, encoding: "utf8" }).filter((name) => {
        return /\.kmend\.lock$|\.tmp|repodata-.*-old$/.test(name) && existsSync(join(repository, name));
      });
      expect(left).toEqual([]);
    }
    expect(killed).toBeGreaterThan(0);
    expect(seen.size).toBe(2);
  },
);

test("a repository of createrepo_c is taken over", async () => {
  const repository = scratchRepository(join(scratch.folder(), "repository"));
  const first = await packaged("rpm", "1");
  cpSync(first, join(repository, "Packages", basename(first)));
  expect(runProgram("createrepo_c", ["--quiet", repository]).exitCode).toBe(0);
  expect(lstatSync(join(repository, "repodata")).isDirectory()).toBe(true);
  expect(await publish(repository, await packaged("rpm", "2"), 0)).toBe(true);
  expect(readDnf(repository)).toEqual([expect.stringContaining("fix-2-1")]);
});

/** An empty folder, which can be watched. */
function scratchRepository(path: string): string {
  cpSync(scratch.folder(), path, { recursive: true });
  return path;
}
