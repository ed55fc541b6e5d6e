// Bundles the command line, the library, the benchmarks and the making of packages into dist/, and writes the type declarations of the library.
// Dependencies are bundled too: opening the hundred files of some of them takes longer than running them. The disassembler stays outside, since it looks
// for its WebAssembly file beside itself, so does esbuild for its program, and playwright-core serves benchmarks only. The client of buckets is as large as all of kmend,
// under a licence of its own, and needed by few.
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const outdir = join(root, "dist");
rmSync(outdir, { recursive: true, force: true });

/** Bundles entries into a folder, in chunks that they share. */
async function bundle(input, dir, options) {
  const bundled = await rolldown({
    cwd: root,
    input,
    platform: "node",
    external: [/^node:/, "iced-x86", "esbuild", "playwright-core", "@aws-sdk/client-s3"],
    transform: { target: "node20" },
    // Native code that a dependency uses where it is there.
    resolve: { alias: { "msgpackr-extract": join(root, "scripts/nothing.cjs") } },
    // The command line loads what a command needs, the library all of it: its dynamic imports are without effect.
    checks: { ineffectiveDynamicImport: false },
  });
  await bundled.write({ dir, sourcemap: true, ...options });
  await bundled.close();
}

/** Puts what a module imports statically, at any distance, into one chunk: all of it is loaded when the program starts. */
function chunkOf(name, file) {
  const modules = new Set();
  const add = (id, context) => {
    if (modules.has(id)) return;
    modules.add(id);
    for (const imported of context.getModuleInfo(id)?.importedIds ?? []) add(imported, context);
  };
  return {
    debugName: name,
    name(id, context) {
      if (modules.size === 0) add(join(root, file), context);
      return modules.has(id) ? name : null;
    },
  };
}

// The command line is CommonJS: Node starts such a program faster, by a fifth of the time that an empty one takes.
const cli = join(outdir, "cli");
await bundle({ main: "src/cli/main.ts" }, cli, {
  format: "cjs",
  entryFileNames: "[name].cjs",
  chunkFileNames: "chunks/[name]-[hash].cjs",
  codeSplitting: { groups: [chunkOf("start", "src/cli/main.ts")] },
});
// A thread loads all of its program: nothing that it would share with the command line, and in one file.
await bundle({ "diff-worker": "src/build/diff-worker.ts" }, cli, {
  format: "cjs",
  entryFileNames: "[name].cjs",
  codeSplitting: false,
});
await bundle({ index: "src/index.ts", "bench/run": "bench/run.ts", "packaging/run": "packaging/run.ts" }, outdir, {
  format: "esm",
  entryFileNames: "[name].js",
  chunkFileNames: "chunks/[name]-[hash].js",
});
execFileSync(
  process.execPath,
  [join(root, "node_modules/typescript/bin/tsc"), "-p", join(root, "tsconfig.types.json")],
  {
    cwd: root,
    stdio: "inherit",
  },
);
