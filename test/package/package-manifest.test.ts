import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readManifest } from "../../src/package/package-manifest.ts";

const folder = mkdtempSync(join(tmpdir(), "kmend-manifest-"));
afterAll(() => rmSync(folder, { recursive: true }));

function manifest(text: string): string {
  const path = join(folder, "manifest.yaml");
  writeFileSync(path, text);
  return path;
}

test("patches that are for the same kernel make one module, each kernel its own", async () => {
  const path = manifest(`packages:
  - name: fixes
    version: 1.10
    patches:
      - filename: a.patch
        kernels: [6.1.0-1-amd64, 6.12.1-amd64]
      - filename: b.patch
        kernels: [6.1.0-1-amd64]
  - name: other.thing
    version: 3
    patches:
      - {filename: c.patch, kernels: [6.1.0-1-amd64]}
`);
  const [fixes, other] = await readManifest(path);
  expect(fixes?.choices).toMatchObject({ name: "kpatch-module-fixes", version: "1.10", release: "1" });
  expect(fixes?.modules).toEqual([
    { kernel: "6.1.0-1-amd64", name: "kpatch-fixes", patches: [join(folder, "a.patch"), join(folder, "b.patch")] },
    { kernel: "6.12.1-amd64", name: "kpatch-fixes", patches: [join(folder, "a.patch")] },
  ]);
  expect(other?.choices).toMatchObject({ name: "kpatch-module-other.thing", version: "3" });
  expect(other?.modules[0]?.name).toBe("kpatch-other-thing");
});

test("a package of Red Hat's kind is made for each kernel", async () => {
  const orders = await readManifest(
    manifest(
      "packages:\n- {name: x, profile: kpatch-patch, version: 1, release: 2, patches: [{filename: a.patch, kernels: [5.14.0-1.el9.x86_64, 5.14.0-2.el9.x86_64]}]}\n",
    ),
  );
  expect(orders.map(({ modules }) => modules[0]?.name)).toEqual(["kpatch-5_14_0-1-1-2", "kpatch-5_14_0-2-1-2"]);
});

test.each([
  [
    "an unknown key",
    "packages:\n- name: x\n  kernel: y\n  patches: [{filename: a, kernels: [b]}]\n",
    'line 3: unknown key "kernel" in packages.0',
  ],
  [
    "an unknown key further down",
    "packages:\n- name: x\n  patches:\n  - filename: a\n    kernels: [b]\n    strip: 1\n",
    'line 6: unknown key "strip" in packages.0.patches.0',
  ],
  ["a missing key", "packages:\n- patches: [{filename: a, kernels: [b]}]\n", "line 2: "],
  ["no kernels", "packages:\n- name: x\n  patches:\n  - filename: a\n    kernels: []\n", "line 5: "],
  ["a key twice", "packages:\n- name: x\n  name: y\n", "line 3: "],
  ["no YAML", "packages: [\n", "line 2: "],
  ["nothing", "", "line 1: "],
  ["a text", "hello\n", "line 1: "],
])("%s is named with its line", async (_title, text, problem) => {
  await expect(readManifest(manifest(text))).rejects.toMatchObject({
    code: "MANIFEST",
    exitCode: 2,
    why: expect.stringContaining(problem),
  });
});

test("every unknown key is told", async () => {
  const text = "top: 1\npackages:\n- {name: x, a: 1, b: 2, patches: [{filename: a, kernels: [b]}]}\n";
  const error = await readManifest(manifest(text)).catch((thrown: unknown) => thrown);
  expect((error as { why: string }).why.split("\n").sort()).toEqual([
    'line 1: unknown key "top"',
    'line 3: unknown key "a" in packages.0',
    'line 3: unknown key "b" in packages.0',
  ]);
});

test.each(["6.1/../x", "$(id)", "a b"])("a kernel named %j is refused", async (kernel) => {
  const text = `packages:\n- name: x\n  patches:\n  - filename: a\n    kernels: [${JSON.stringify(kernel)}]\n`;
  await expect(readManifest(manifest(text))).rejects.toMatchObject({ code: "PACKAGE_VALUE" });
});
