import { existsSync, readFileSync } from "node:fs";

/** The version in package.json, which lies in a folder above both the sources and the bundles. */
export function version(): string {
  for (let folder = new URL("./", import.meta.url); ; folder = new URL("../", folder)) {
    const file = new URL("package.json", folder);
    if (existsSync(file)) {
      const manifest = JSON.parse(readFileSync(file, "utf8")) as { name?: string; version?: string };
      if (manifest.name === "kmend" && manifest.version !== undefined) return manifest.version;
    }
    if (folder.pathname === "/") throw new Error("kmend's package.json is missing");
  }
}
