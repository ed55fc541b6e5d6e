import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";

/**
 * What kmend reads of its own package: files and packages that cannot be part of a bundle. In the self-contained executable
 * `packaging/embedded/own-files.ts` stands in the place of this file.
 */

/** kmend's own folder; it lies above both the sources and the bundles. The executable has none. */
export function packageFolder(): URL {
  for (let folder = new URL("./", import.meta.url); ; folder = new URL("../", folder)) {
    const file = new URL("package.json", folder);
    if (existsSync(file) && (JSON.parse(readFileSync(file, "utf8")) as { name?: string }).name === "kmend")
      return folder;
    if (folder.pathname === "/") throw new Error("kmend's package.json is missing");
  }
}

/** Content of a file of kmend's, by its path from the top. */
export function packageResource(path: string): Buffer {
  return readFileSync(new URL(path, packageFolder()));
}

/** A package that kmend depends on, by its name; for those that look for files beside themselves. */
export function requireOwn(name: string): unknown {
  return createRequire(import.meta.url)(name);
}

/**
 * A program that a worker thread can run, by its name; undefined where there are sources only, and in the executable. It lies with the command line, and is
 * looked for from there, from the library beside it, and from a chunk of either.
 */
export function bundledProgram(name: string): URL | undefined {
  return [`./${name}.cjs`, `../${name}.cjs`, `./cli/${name}.cjs`, `../cli/${name}.cjs`]
    .map((path) => new URL(path, import.meta.url))
    .find((file) => existsSync(file));
}
