import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { embeddedEngine } from "../../src/matrix/engine/embedded-engine.ts";
import type { KernelOffer } from "../../src/matrix/kernel-patterns.ts";
import type { MatrixResult } from "../../src/matrix/matrix-result.ts";
import { type MatrixOptions, runMatrix } from "../../src/matrix/start-matrix.ts";
import type { KernelFacts } from "../../src/matrix/step.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import { smallModule } from "../update/small-module.ts";

/** What stands in for `kmend build` and `kmend try`: the first line of a patch that begins with `+do:` says how a build ends. */
const program = `
import { appendFileSync, copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
const [folder, command, ...words] = process.argv.slice(2);
const value = (name) => words[words.indexOf(name) + 1];
const print = (result) => console.log(JSON.stringify(result));
const kernel = value("--kernel");
appendFileSync(folder + "/calls", [command, kernel, value("--name")].join(" ") + "\\n");
appendFileSync(folder + "/words", words.join(" ") + "\\n");
if (command === "try") {
  const fails = existsSync(folder + "/fail-trials");
  print(fails ? { verdict: "failed", failure: "the probe changed", kernelLog: [] } : { verdict: "passed" });
} else {
  const patch = words.slice(words.indexOf("--") + 1).map((path) => readFileSync(path, "utf8")).join("\\n");
  const order = /^\\+do:(.*)$/m.exec(patch)?.[1] ?? "";
  const [what, argument] = order.trim().split(" ");
  const name = value("--name");
  const nothing = { functions: [], refusals: [], warnings: [], notes: [], units: [], symbols: [], module: null };
  const result = { schema: 1, kernel: { release: kernel, buildId: "id-" + kernel }, ...nothing };
  const count = folder + "/failed-" + name + kernel;
  const failed = existsSync(count) ? Number(readFileSync(count, "utf8")) : 0;
  if (what === "wait") await new Promise((resolve) => setTimeout(resolve, Number(argument)));
  // A fix whose text has "nothing" changes no code.
  const functions = [...patch.matchAll(/^\\+\\+\\+ b\\/(.*)$/gm)].map(([, unit]) => ({ name: "f", unit }));
  const silent = patch.includes("+/* nothing");
  if (what === "refuse" && (argument ?? kernel) === kernel) {
    const refusal = { code: "INIT_CODE", what: "start_kernel", where: "", why: "it ran", hint: "leave it" };
    print({ ...result, outcome: "refused", refusals: [refusal] });
  } else if (what === "reject") {
    const error = { code: "PATCH_DOES_NOT_APPLY", message: "no", where: null, why: "in " + words.at(-1), hint: null };
    print({ outcome: "failed", error });
  } else if (what === "same" || (silent && functions.length === 1)) print({ ...result, outcome: "unchanged" });
  else if (what === "fail" && failed < Number(argument)) {
    writeFileSync(count, String(failed + 1));
    console.error("the disk is tired");
    print({ outcome: "failed", error: { code: "NO_SPACE", message: "no space left", where: null, why: null, hint: null } });
  } else if (what === "crash") process.kill(process.pid, "SIGKILL");
  else {
    const file = folder + "/modules/" + kernel + "/" + name + ".ko";
    copyFileSync(file, value("--output") + "/" + name + ".ko");
    if (what === "random") appendFileSync(value("--output") + "/" + name + ".ko", String(Math.random()));
    const bytes = readFileSync(file).length;
    const module = { path: value("--output") + "/" + name + ".ko", name, sha256: "", bytes, staysInMemory: false };
    const changed = functions.filter(({ unit }) => !silent || unit === "fs/x.c");
    print({ ...result, outcome: "built", functions: changed, module, milliseconds: { total: Date.now() } });
  }
}
`;

/** A world of kernels, patches and modules in which a matrix runs without a compiler. */
export class StandIn {
  readonly folder = mkdtempSync(join(tmpdir(), "kmend-matrix-"));
  readonly kernels: readonly string[];
  readonly #manifest: string[] = ["packages:"];

  constructor(kernels: readonly string[] = ["6.1.0-1-amd64", "6.1.0-2-amd64", "6.12.1-amd64"]) {
    this.kernels = kernels;
    writeFileSync(join(this.folder, "stand-in.mjs"), program);
  }

  /** Adds a package of one patch to the manifest. @param order how its build ends, see the program. */
  package(name: string, order = "", kernels: readonly string[] = ["all"], more = ""): this {
    const patch = join(this.folder, `${name}.patch`);
    writeFileSync(patch, `--- a/fs/x.c\n+++ b/fs/x.c\n@@ -1,1 +1,2 @@\n a\n+do:${order}\n`);
    this.#manifest.push(`- name: ${name}`, `  version: "1"`, more, "  patches:");
    this.#manifest.push(`  - filename: ${name}.patch`, `    kernels: [${kernels.map((k) => `"${k}"`).join(", ")}]`);
    for (const release of this.kernels) {
      smallModule(join(this.folder, "modules", release), { name: `kpatch-${name}`, release, text: name });
    }
    return this;
  }

  get manifest(): string {
    const path = join(this.folder, "fleet.yaml");
    writeFileSync(path, `${this.#manifest.filter((line) => line !== "").join("\n")}\n`);
    return path;
  }

  get output(): string {
    return join(this.folder, "output");
  }

  get program(): readonly string[] {
    return [process.execPath, join(this.folder, "stand-in.mjs"), this.folder];
  }

  get offer(): KernelOffer {
    const kernels = this.kernels.map((release) => {
      return { release, packageVersion: `${release}-v`, installed: false, hasSource: true };
    });
    return { kernels, newest: this.kernels.at(-1) as string };
  }

  facts(): Map<string, Promise<KernelFacts>> {
    return new Map(
      this.kernels.map((release) => {
        const more = { sources: "s", configuration: "c", compiler: "gcc" };
        return [
          release,
          Promise.resolve({ release, packageVersion: `${release}-v`, buildId: `id-${release}`, ...more }),
        ];
      }),
    );
  }

  /** Builds that were started, in their order. */
  calls(): readonly string[] {
    const path = join(this.folder, "calls");
    return existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : [];
  }

  /** All words of these calls. */
  words(): readonly string[] {
    return readFileSync(join(this.folder, "words"), "utf8").trim().split("\n");
  }

  forgetCalls(): void {
    rmSync(join(this.folder, "calls"), { force: true });
  }

  failTrials(): void {
    appendFileSync(join(this.folder, "fail-trials"), "");
  }

  /** Runs the manifest here, with attempts that follow each other at once. */
  run(options: Partial<MatrixOptions> = {}): Promise<MatrixResult> {
    mkdirSync(this.output, { recursive: true });
    return runMatrix({
      ...{ manifest: this.manifest, output: this.output, offer: this.offer, format: "tar" },
      engine: async (store) => {
        const services = { store, program: this.program, jobs: 1, facts: this.facts() };
        return embeddedEngine({ services, lanes: 2, retries: { retries: 3, backoffMilliseconds: 1 } });
      },
      progress: new SilentProgress(),
      signal: new AbortController().signal,
      ...options,
    });
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
