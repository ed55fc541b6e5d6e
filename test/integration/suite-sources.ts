import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";

/** Entries for suites of Debian, from where this machine has Debian's packages; undefined where it has none, or not the keyring. */
export function suiteSources(suites: string): string | undefined {
  const words = ["indextargets", "--format", "$(ORIGIN)\t$(LABEL)\t$(REPO_URI)", "Created-By: Packages"];
  const targets = execFileSync("apt-get", words, { encoding: "utf8" }).split("\n");
  const [, uri] = targets.flatMap((line) => /^Debian\tDebian\t(\S+)$/.exec(line) ?? []);
  const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
  if (uri === undefined || !existsSync(keyring)) return undefined;
  return ["Types: deb", `URIs: ${uri}`, `Suites: ${suites}`, "Components: main", `Signed-By: ${keyring}`, ""].join(
    "\n",
  );
}
