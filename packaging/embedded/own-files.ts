import { createRequire } from "node:module";
import { posix } from "node:path";
import { getRawAsset } from "node:sea";
import { compileFunction } from "node:vm";

/**
 * Stands in the self-contained executable in the place of `src/support/own-files.ts`: there is no folder of kmend's, and its files are assets of the
 * executable under the same names.
 */

/** Content of a file of kmend's, by its path from the top. */
export function packageResource(path: string): Buffer {
  return Buffer.from(getRawAsset(path) as ArrayBuffer);
}

/** A CommonJS package that is among the assets. What it reads beside itself is an asset too. */
export function requireOwn(name: string): unknown {
  const folder = posix.join("node_modules", name);
  const manifest = JSON.parse(packageResource(posix.join(folder, "package.json")).toString("utf8")) as { main: string };
  const file = posix.join(folder, manifest.main);
  const builtin = createRequire(process.execPath);
  const require = (wanted: string): unknown => (wanted === "fs" ? { readFileSync: packageResource } : builtin(wanted));
  const module = { exports: {} as unknown };
  const code = compileFunction(packageResource(file).toString("utf8"), ["module", "exports", "require", "__dirname"], {
    filename: file,
  });
  code(module, module.exports, require, folder);
  return module.exports;
}

/** Threads run programs from files, and the executable has none. */
export function bundledProgram(): undefined {
  return undefined;
}
