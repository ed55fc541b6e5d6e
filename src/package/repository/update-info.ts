import { readFile } from "node:fs/promises";
import { sha256 } from "../../support/cache.ts";
import { run } from "../../support/run.ts";
import { xmlText } from "../formats/escape.ts";

/** What an RPM says about what it fixes. */
export interface RpmUpdate {
  readonly name: string;
  readonly version: string;
  readonly release: string;
  readonly epoch: string;
  readonly architecture: string;
  readonly source: string;
  readonly summary: string;
  readonly description: string;
  /** Seconds since 1970. */
  readonly built: number;
  readonly cves: readonly string[];
  /** Empty when none is named. */
  readonly severity: string;
  /** Path in the repository. */
  readonly file: string;
  readonly sha256: string;
}

/** Reads a package; CVE ids and severity stand in its newest changelog entry, where {@link changelogLines} put them. */
export async function readUpdate(path: string, file: string): Promise<RpmUpdate> {
  // Texts of several lines come last and in order, each after a mark that no field can hold.
  const mark = "\u001e";
  const fields = ["NAME", "VERSION", "RELEASE", "EPOCHNUM", "ARCH", "SOURCERPM", "BUILDTIME", "SUMMARY", "DESCRIPTION"];
  const format = [...fields.map((field) => `%{${field}}`), "[%{CHANGELOGTEXT}\u001f]"].join(mark);
  const { stdout } = await run("rpm", ["-qp", "--nosignature", "--qf", format, path]);
  const [name, version, release, epoch, architecture, source, built, summary, description, changelog] =
    stdout.split(mark);
  const newest = changelog?.split("\u001f")[0] ?? "";
  return {
    name: name ?? "",
    version: version ?? "",
    release: release ?? "",
    epoch: epoch ?? "0",
    architecture: architecture ?? "",
    source: source ?? "",
    built: Number(built),
    summary: summary ?? "",
    description: description ?? "",
    cves: [...new Set(newest.match(/(?<=\{)CVE-\d{4}-\d{4,}(?=\})/g) ?? [])],
    severity: /^- Severity: (Low|Moderate|Important|Critical)$/m.exec(newest)?.[1] ?? "",
    file,
    sha256: sha256(await readFile(path)),
  };
}

/** The updateinfo.xml of a repository: an advisory for each package, of type `security` when it fixes a CVE. */
export function updateInfo(updates: readonly RpmUpdate[]): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<updates>\n${updates.map(advisory).join("")}</updates>\n`;
}

function advisory(update: RpmUpdate): string {
  const id = xmlText(`${update.name}-${update.version}-${update.release}`);
  const date = new Date(update.built * 1000).toISOString().slice(0, 19).replace("T", " ");
  const references = update.cves.map(
    (cve) =>
      `      <reference href="https://www.cve.org/CVERecord?id=${cve}" id="${cve}" type="cve" title="${cve}"/>\n`,
  );
  const attributes = {
    name: update.name,
    version: update.version,
    release: update.release,
    epoch: update.epoch,
    arch: update.architecture,
    src: update.source,
  };
  const words = Object.entries(attributes).map(([name, value]) => `${name}="${xmlText(value)}"`);
  return `  <update from="kmend" status="final" type="${update.cves.length > 0 ? "security" : "bugfix"}" version="1">
    <id>${id}</id>
    <title>${xmlText(update.summary)}</title>
    <issued date="${date}"/>
    <updated date="${date}"/>
    <severity>${update.severity === "" ? "None" : update.severity}</severity>
    <summary>${xmlText(update.summary)}</summary>
    <description>${xmlText(update.description)}</description>
    <references>
${references.join("")}    </references>
    <pkglist>
      <collection short="kmend">
        <name>kmend</name>
        <package ${words.join(" ")}>
          <filename>${xmlText(update.file)}</filename>
          <sum type="sha256">${update.sha256}</sum>
          <reboot_suggested>False</reboot_suggested>
        </package>
      </collection>
    </pkglist>
  </update>
`;
}
