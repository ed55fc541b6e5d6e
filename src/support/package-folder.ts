import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

interface Manifest {
  readonly name?: string;
  readonly version?: string;
}

/** kmend's own folder, with its package.json; it lies above both the sources and the bundles. */
export function packageFolder(): { readonly path: string; readonly version: string } {
  for (let folder = new URL("./", import.meta.url); ; folder = new URL("../", folder)) {
    const file = new URL("package.json", folder);
    if (existsSync(file)) {
      const manifest = JSON.parse(readFileSync(file, "utf8")) as Manifest;
      if (manifest.name === "kmend" && manifest.version !== undefined)
        return { path: fileURLToPath(folder), version: manifest.version };
    }
    if (folder.pathname === "/") throw new Error("kmend's package.json is missing");
  }
}
