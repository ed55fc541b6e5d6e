import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ExitCode, KmendError } from "../../../support/errors.ts";
import { findProgram } from "../../../support/find-program.ts";
import { Debian } from "./debian.ts";
import type { Distribution } from "./distribution.ts";
import { Ubuntu } from "./ubuntu.ts";

/** Distributions whose archives hold kernels and their source, by the ID of os-release(5). */
const distributions: Readonly<Record<string, (sources?: string) => Distribution>> = {
  debian: (sources) => new Debian({ sources }),
  ubuntu: (sources) => new Ubuntu({ sources }),
};

/** Names for {@link chooseDistribution}. */
const distributionNames = Object.keys(distributions);

/** Which archives kernels come from. */
export interface ArchiveChoice {
  /** Distribution whose names they have, `debian` or `ubuntu`; default that of this machine. */
  readonly distribution?: string | undefined;
  /** File with deb822 stanzas of the archives (sources.list(5)); default those that apt is configured for. */
  readonly sources?: string | undefined;
}

/**
 * The distribution whose names the archive of this machine uses.
 * @param choice what the user says; the distribution is otherwise that of /etc/os-release, or the first known one that it is like.
 * @param root where os-release is looked for; `/` but in tests.
 * @throws KmendError `USAGE` (exit 2) for an unknown name, `DISTRIBUTION_UNKNOWN` (exit 5).
 */
export async function chooseDistribution(choice: ArchiveChoice = {}, root = "/"): Promise<Distribution> {
  const { distribution: name, sources } = choice;
  const chosen = name === undefined ? undefined : distributions[name];
  if (chosen !== undefined) return chosen(sources);
  if (name !== undefined) {
    throw new KmendError({
      code: "USAGE",
      message: `there is no distribution ${name}`,
      hint: `choose one of ${distributionNames.join(", ")}`,
      exitCode: ExitCode.usage,
    });
  }
  const here = await osRelease(root);
  for (const id of here) {
    const known = distributions[id];
    if (known !== undefined) return known(sources);
  }
  // Small root file systems have no os-release.
  if (here.length === 0 && (await findProgram("apt-get")) !== undefined) return new Debian({ sources });
  throw new KmendError({
    code: "DISTRIBUTION_UNKNOWN",
    message: `the kernels of this distribution (${here.join(", ") || "unnamed"}) are not found by their release`,
    why: `only the archives of ${distributionNames.join(" and ")} are known`,
    hint: "give the kernel's source RPM with --sourcerpm FILE, or a source tree with --source DIR",
    exitCode: ExitCode.environment,
  });
}

/** ID and what follows in ID_LIKE: the closest relative first. */
async function osRelease(root: string): Promise<string[]> {
  for (const path of ["etc/os-release", "usr/lib/os-release"]) {
    const text = await readFile(join(root, path), "utf8").catch(() => undefined);
    if (text === undefined) continue;
    const value = (key: string): string => new RegExp(`^${key}=["']?([^"'\n]*)`, "m").exec(text)?.[1] ?? "";
    return `${value("ID")} ${value("ID_LIKE")}`.split(/\s+/).filter(Boolean);
  }
  return [];
}
