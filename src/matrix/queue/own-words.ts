import { readFile } from "node:fs/promises";
import { checkRequirements } from "../../support/requirements.ts";
import { wordPattern } from "./lanes.ts";

const machines: Readonly<Partial<Record<NodeJS.Architecture, string>>> = { x64: "x86_64", arm64: "aarch64" };

/** What this machine can do by itself: its distribution (`debian-12`), its architecture, and what the programs that are here allow. */
export async function ownWords(): Promise<readonly string[]> {
  const text = await readFile("/etc/os-release", "utf8").catch(() => "");
  const value = (key: string): string => new RegExp(`^${key}=["']?([^"'\\n]*)`, "m").exec(text)?.[1] ?? "";
  const words = [`${value("ID")}-${value("VERSION_ID")}`.toLowerCase(), machines[process.arch] ?? process.arch];
  for (const need of ["try", "deb", "rpm"] as const) {
    const found = await checkRequirements([need]);
    if (found.every(({ foundAt }) => foundAt !== undefined)) words.push(need);
  }
  return words.filter((word) => wordPattern.test(word)).sort();
}
