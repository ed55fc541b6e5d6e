// Bundles the command line, the library and the benchmarks into dist/, and writes the type declarations of the library.
// Dependencies are bundled too: opening the hundred files of some of them takes longer than running them. Chunks are split so that a command loads
// only what it uses. The disassembler stays outside, since it looks for its WebAssembly file beside itself.
import { execFileSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const outdir = join(root, "dist");
rmSync(outdir, { recursive: true, force: true });

const entries = { cli: "src/cli/main.ts", index: "src/index.ts", "bench/run": "bench/run.ts" };
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
  external: ["iced-x86"],
  // Some dependencies are CommonJS modules that load parts of Node.
  banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
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
