import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { packageFolder } from "../src/support/own-files.ts";
import { version } from "../src/support/version.ts";

const root = fileURLToPath(packageFolder());

/** Name and switch of the place in Node's program that says whether it carries an application (Node's manual, "Single executable applications"). */
const fuse = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";

/** Files that the program reads when it runs, besides {@link disassembler}'s. */
const ownFolders = ["include"];
const disassembler = "iced-x86";

/** A finished executable. */
export interface Executable {
  readonly path: string;
  /** Folders of the npm packages whose code is in it. */
  readonly packages: readonly string[];
  /** Licence of Node and of what it contains. */
  readonly nodeLicence: string;
}

/**
 * Makes one file of Node and kmend, which runs where there is no Node, and beside it the links by whose names it is an older tool.
 * The same Node and sources give the same bytes: V8's code cache, which would spare 25 ms at each start, is left out since its bytes differ each time.
 * @param node program of Node 20.19 or later that holds all of Node, as those of nodejs.org do.
 */
export async function buildExecutable(output: string, node = process.execPath): Promise<Executable> {
  const unfused = Buffer.from(`${fuse}:0`);
  if (!readFileSync(node).includes(unfused)) {
    throw new Error(
      `${node} cannot carry an application: it keeps its code in a shared library, or carries one already. Take Node from nodejs.org.`,
    );
  }
  mkdirSync(output, { recursive: true });
  const folder = mkdtempSync(join(output, ".building-"));
  try {
    const bundle = join(folder, "kmend.cjs");
    const packages = await bundleProgram(bundle);
    const assets = await collectAssets(folder);
    const blob = join(folder, "kmend.blob");
    // The name of the script becomes a part of the executable, so it must not have the folder in it.
    const config = { main: basename(bundle), output: blob, disableExperimentalSEAWarning: true, assets };
    writeFileSync(join(folder, "config.json"), JSON.stringify(config));
    execFileSync(node, ["--experimental-sea-config", "config.json"], { cwd: folder, stdio: "pipe" });
    const program = join(folder, "kmend");
    copyFileSync(node, program);
    chmodSync(program, 0o755);
    // 12 MB of symbols that nobody looks at; before the application comes in, whose place strip would not keep.
    execFileSync("strip", [program], { stdio: "pipe" });
    const postject = join(dirname(createRequire(import.meta.url).resolve("postject/package.json")), "dist", "cli.js");
    const words = [postject, program, "NODE_SEA_BLOB", blob, "--sentinel-fuse", fuse];
    execFileSync(process.execPath, words, { stdio: "pipe" });
    const said = execFileSync(program, ["--version"], { encoding: "utf8" });
    if (said !== `${version()}\n`) throw new Error(`the new executable says ${JSON.stringify(said)} for --version`);
    const path = join(output, "kmend");
    renameSync(program, path);
    for (const name of compatibleLinks()) {
      rmSync(join(output, name), { force: true });
      symlinkSync("kmend", join(output, name));
    }
    return { path, packages: [...packages, join(root, "node_modules", disassembler)], nodeLicence: licenceOf(node) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Node's licence, which goes wherever Node goes, from where its archive and its packages have it. */
function licenceOf(node: string): string {
  const prefix = dirname(dirname(realpathSync(node)));
  const places = ["LICENSE", "share/doc/nodejs/LICENSE", "share/doc/node/LICENSE"].map((name) => join(prefix, name));
  const found = places.find((path) => existsSync(path));
  if (found === undefined)
    throw new Error(`the licence of ${node} is missing; it was looked for in ${places.join(", ")}`);
  return readFileSync(found, "utf8");
}

/** Names of the older tools that the executable can be called by. */
export function compatibleLinks(): readonly string[] {
  return readdirSync(join(root, "compat"))
    .filter((name) => basename(readlinkSync(join(root, "compat", name))) === "kmend")
    .sort();
}

/** Puts the whole program into one script. @returns folders of the packages that are in it. */
async function bundleProgram(outfile: string): Promise<readonly string[]> {
  const original = join(root, "src/support/own-files.ts");
  let replaced = 0;
  const { metafile, warnings } = await build({
    absWorkingDir: root,
    entryPoints: ["src/cli/main.ts"],
    outfile,
    bundle: true,
    format: "cjs",
    platform: "node",
    target: "node20",
    alias: { "msgpackr-extract": join(root, "scripts/nothing.cjs") },
    metafile: true,
    // Under a licence of its own, and larger than all the rest: a store in a bucket is for kmend from npm.
    external: ["@aws-sdk/client-s3"],
    // Names stay, so that a stack trace can be read.
    minifyWhitespace: true,
    minifySyntax: true,
    logLevel: "silent",
    plugins: [
      {
        name: "own files are assets",
        setup(plugin) {
          plugin.onLoad({ filter: /\/own-files\.ts$/ }, ({ path }) => {
            if (path !== original) return undefined;
            replaced++;
            const contents = readFileSync(join(root, "packaging/embedded/own-files.ts"), "utf8");
            return { contents, loader: "ts" };
          });
        },
      },
    ],
  });
  if (replaced !== 1) throw new Error("the bundle does not read kmend's own files where it is expected to");
  // Such as a use of import.meta, which would be empty.
  if (warnings.length > 0) throw new Error(warnings.map(({ text }) => text).join("\n"));
  const folders = Object.keys(metafile.inputs).flatMap((input) => {
    return /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0] ?? [];
  });
  return [...new Set(folders)].sort().map((path) => join(root, path));
}

/** The files that the executable carries, by the names under which the program asks for them. */
async function collectAssets(folder: string): Promise<Readonly<Record<string, string>>> {
  const assets: Record<string, string> = { "package.json": join(root, "package.json") };
  for (const own of ownFolders) {
    for (const name of readdirSync(join(root, own)).sort()) assets[`${own}/${name}`] = join(root, own, name);
  }
  const from = join(root, "node_modules", disassembler);
  const { main } = JSON.parse(readFileSync(join(from, "package.json"), "utf8")) as { main: string };
  for (const name of ["package.json", ...readdirSync(from).filter((file) => file.endsWith(".wasm"))]) {
    assets[`node_modules/${disassembler}/${name}`] = join(from, name);
  }
  const script = join(folder, "disassembler.cjs");
  await build({ entryPoints: [join(from, main)], outfile: script, minify: true, format: "cjs", logLevel: "error" });
  assets[`node_modules/${disassembler}/${main}`] = script;
  return assets;
}
