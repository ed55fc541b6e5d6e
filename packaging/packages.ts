import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { sourceDate } from "../src/package/source-date.ts";
import { packageFolder } from "../src/support/own-files.ts";
import { type Effort, packageContents } from "./content.ts";
import { ownDeb } from "./deb.ts";
import type { Executable } from "./executable.ts";
import { ownRpms } from "./rpm.ts";

/**
 * Makes kmend's own packages: kmend and kmend-compat, as debs and as RPMs.
 * @param output gets the packages, under names that tell their version.
 * @returns their paths.
 */
export async function buildPackages(
  executable: Executable,
  output: string,
  effort: Effort,
): Promise<readonly string[]> {
  const epoch = await dateOfCheckout();
  mkdirSync(output, { recursive: true });
  const folder = mkdtempSync(join(output, ".building-"));
  try {
    const made: string[] = [];
    for (const own of packageContents(executable, epoch, "deb")) {
      made.push(await ownDeb(own, epoch, mkdtempSync(join(folder, "deb-")), effort));
    }
    made.push(
      ...(await ownRpms(packageContents(executable, epoch, "rpm"), epoch, mkdtempSync(join(folder, "rpm-")), effort)),
    );
    return made.map((path) => {
      const target = join(output, basename(path));
      renameSync(path, target);
      return target;
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** SOURCE_DATE_EPOCH, else the time of the commit that is checked out, else that of package.json. */
async function dateOfCheckout(): Promise<number> {
  const root = fileURLToPath(packageFolder());
  if ((process.env["SOURCE_DATE_EPOCH"] ?? "") === "") {
    try {
      const words = ["-C", root, "log", "-1", "--format=%ct"];
      return Number(execFileSync("git", words, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
    } catch {
      // An unpacked archive of the sources.
    }
  }
  return sourceDate([join(root, "package.json")]);
}
