import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));

/** Files that belong to the repository, those that are not committed yet included. */
export function repositoryFiles(): string[] {
  const listed = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
    cwd: root,
    encoding: "utf8",
  });
  return listed.split("\n").filter((path) => path !== "" && existsSync(join(root, path)));
}

export function read(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** TypeScript files below a folder. */
export function typeScriptFiles(folder: string): string[] {
  return repositoryFiles().filter((path) => path.startsWith(`${folder}/`) && /\.tsx?$/.test(path));
}

/** What a file imports at its start so that its code is loaded too, as it is written there; types vanish when it is compiled. */
export function codeImports(path: string): string[] {
  const statements = read(path).matchAll(/^(?:import|export)\s+(type\s)?(\{[^}]*\}|[^{}"]*?)\s+from\s+"([^"]+)";/gm);
  return [...statements].flatMap(([, type, names, from]) => {
    const listed = (names as string)
      .replace(/[{}]/g, "")
      .split(",")
      .map((name) => name.trim())
      .filter(Boolean);
    return type !== undefined || listed.every((name) => name.startsWith("type ")) ? [] : [from as string];
  });
}
