import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { parseCommandLine } from "../../src/cli/options/parse.ts";
import { read, repositoryFiles, root } from "./source-files.ts";

const folder = mkdtempSync(join(tmpdir(), "kmend-contrib-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly spec: {
    readonly template: { readonly spec: { readonly containers: readonly { readonly args: readonly string[] }[] } };
  };
}

const manifests = repositoryFiles()
  .filter((path) => /^contrib\/kubernetes\/.*\.yaml$/.test(path))
  .flatMap((path) => parseAllDocuments(read(path)).map((document) => document.toJS() as Manifest));

/** What the compiler says of manifests as values of the types that Kubernetes' API description gives. */
function judge(values: readonly Manifest[]): string {
  const lines = values.map(({ apiVersion, kind, ...rest }, index) => {
    const module = join(root, "node_modules/kubernetes-types", apiVersion);
    const value = JSON.stringify({ apiVersion, kind, ...rest });
    return `export const value${index}: import(${JSON.stringify(module)}).${kind} = ${value};`;
  });
  const file = join(folder, "manifests.ts");
  writeFileSync(file, lines.join("\n"));
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  try {
    const words = [
      "--noEmit",
      "--strict",
      "--skipLibCheck",
      "--types",
      "",
      "--module",
      "nodenext",
      "--ignoreConfig",
      file,
    ];
    execFileSync(process.execPath, [tsc, ...words], { encoding: "utf8", cwd: folder });
    return "";
  } catch (error) {
    return String((error as { stdout?: unknown }).stdout);
  }
}

test("the manifests for Kubernetes are what its API describes", () => {
  expect(manifests.map(({ kind }) => kind)).toEqual(["Job", "Job", "DaemonSet"]);
  expect(judge(manifests)).toBe("");
  const first = manifests[0] as Manifest;
  const wrong = { ...first, spec: { ...first.spec, paralellism: 4 } } as Manifest;
  expect(judge([wrong])).toContain("paralellism");
});

test("what they and the workflow call are commands of kmend", () => {
  const called = manifests.flatMap(({ spec }) => spec.template.spec.containers.map(({ args }) => args));
  for (const args of called.filter(([first]) => first === "matrix" || first === "worker")) {
    expect(parseCommandLine(args).kind).toBe("run");
  }
  const workflow = parse(read("contrib/github/live-patches.yml")) as {
    jobs: { matrix: { steps: readonly { run?: string }[] } };
  };
  const runs = workflow.jobs.matrix.steps.flatMap(({ run }) => run?.match(/kmend matrix .*(?= >)/)?.[0] ?? []);
  expect(runs).toHaveLength(1);
  const words = (runs[0] as string)
    .replace(/\$\{\{.*?\}\}/g, "deb")
    .split(" ")
    .slice(1);
  expect(parseCommandLine(words).kind).toBe("run");
});
