// Bundles the command line, the library, the benchmarks and the making of packages into dist/, and writes the type declarations of the library.
// Dependencies are bundled too: opening the hundred files of some of them takes longer than running them. Chunks are split so that a command loads
// only what it uses. The disassembler stays outside, since it looks for its WebAssembly file beside itself, so does esbuild for its program, and playwright-core
// serves benchmarks only.
import { execFileSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const outdir = join(root, "dist");
rmSync(outdir, { recursive: true, force: true });

const entries = {
  cli: "src/cli/main.ts",
  index: "src/index.ts",
  "diff-worker": "src/build/diff-worker.ts",
  "bench/run": "bench/run.ts",
  "packaging/run": "packaging/run.ts",
};
await build({
  absWorkingDir: root,
  entryPoints: Object.fromEntries(Object.entries(entries).filter(([, file]) => existsSync(join(root, file)))),
  outdir,
  bundle: true,
  splitting: true,
  chunkNames: "chunks/[name]-[hash]",
  format: "esm",
  platform: "node",
  target: "node20",
  external: ["iced-x86", "esbuild", "playwright-core"],
  alias: { "msgpackr-extract": join(root, "scripts/nothing.cjs") },
  // Some dependencies are CommonJS modules that load parts of Node.
  banner: {
    js: 'import { createRequire as requireOfBundle } from "node:module"; const require = requireOfBundle(import.meta.url);',
  },
  sourcemap: true,
  logLevel: "warning",
});
execFileSync(
  process.execPath,
  [join(root, "node_modules/typescript/bin/tsc"), "-p", join(root, "tsconfig.types.json")],
  {
    cwd: root,
    stdio: "inherit",
  },
);
