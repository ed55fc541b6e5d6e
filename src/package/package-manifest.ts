import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { type Document, isMap, isNode, LineCounter, parseDocument } from "yaml";
import { z } from "zod";
import { commitPattern, cveIdPattern } from "../support/cve-id.ts";
import { ExitCode, KmendError, messageOf } from "../support/errors.ts";
import {
  type Architecture,
  architectureNamed,
  architectures,
  checked,
  nameFrom,
  patchProfileName,
} from "./package-name.ts";
import type { ModuleOrder, OrderedFix, PackageOrder } from "./package-order.ts";
import { severities } from "./package-plan.ts";

const text = z.string().min(1);

/** Values are all read as texts (YAML's failsafe schema), so that version 1.10 does not become 1.1. */
const schema = z.strictObject({
  packages: z
    .array(
      z.strictObject({
        name: text,
        version: text.optional(),
        release: text.optional(),
        arch: text.optional(),
        profile: z.enum(["kpatch-module", "kpatch-patch"]).optional(),
        summary: text.optional(),
        description: text.optional(),
        license: text.optional(),
        maintainer: text.optional(),
        cves: z.array(text).optional(),
        severity: z.enum(severities).optional(),
        patches: z
          .array(
            z.strictObject({
              filename: text.optional(),
              cve: z
                .string()
                .regex(cveIdPattern, "this is not the number of a vulnerability (CVE-YEAR-NUMBER)")
                .optional(),
              with: z.array(z.string().regex(commitPattern, "this is not the full name of a commit")).optional(),
              kernels: z.array(text).min(1),
            }),
          )
          .min(1),
      }),
    )
    .min(1),
});

type ManifestPackage = z.infer<typeof schema>["packages"][number];

/** Values that the command line gives for what a package leaves open. */
export interface ManifestDefaults {
  readonly version?: string | undefined;
  readonly release?: string | undefined;
  readonly architecture?: Architecture | undefined;
  readonly profile?: "kpatch-module" | "kpatch-patch" | undefined;
  readonly activate?: boolean | undefined;
  /** Turns a kernel as the manifest names it into its release. */
  readonly releaseOf?: ((kernel: string, architecture: Architecture) => string) | undefined;
  /** A patch may be that of a vulnerability. */
  readonly takesFixes?: boolean | undefined;
  /** Turns a pattern of the manifest into the releases that it means, or anything else into itself. */
  readonly releasesOf?: ((pattern: string, architecture: Architecture) => readonly string[]) | undefined;
}

/**
 * Reads a manifest: packages, their patches, and the kernels that each patch is for. All patches of a package for the same kernel make one module.
 * File names are relative to the manifest.
 * @throws KmendError `MANIFEST` (exit 2) with every problem and its line; `PACKAGE_VALUE`
 */
export async function readManifest(path: string, defaults: ManifestDefaults = {}): Promise<readonly PackageOrder[]> {
  const content = await readFile(path, "utf8").catch((error: unknown) => {
    throw invalid(path, [`cannot read it: ${messageOf(error)}`]);
  });
  const lines = new LineCounter();
  const document = parseDocument(content, { schema: "failsafe", lineCounter: lines, prettyErrors: false });
  const syntax = document.errors.map(({ message, pos }) => `line ${lines.linePos(pos[0]).line}: ${message}`);
  if (syntax.length > 0) throw invalid(path, syntax);
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw invalid(path, [messageOf(error)]);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    throw invalid(
      path,
      parsed.error.issues.flatMap((issue) => problemsOf(issue, document, lines)),
    );
  }
  const wrong = parsed.data.packages.flatMap(({ patches }, index) =>
    patches.flatMap((patch, at) => {
      const problem = problemOf(patch, defaults.takesFixes === true);
      return problem === undefined
        ? []
        : [`line ${lineOf(document, ["packages", index, "patches", at], lines)}: ${problem}`];
    }),
  );
  if (wrong.length > 0) throw invalid(path, wrong);
  const folder = dirname(resolve(path));
  return parsed.data.packages.flatMap((entry) => ordersOf(entry, folder, defaults));
}

/** What is wrong with an entry of `patches`, whose form is right. */
function problemOf(
  { filename, cve, with: before }: ManifestPackage["patches"][number],
  takesFixes: boolean,
): string | undefined {
  if ((filename === undefined) === (cve === undefined)) return "a patch has a filename or a cve";
  if (before !== undefined && cve === undefined) return "with goes with cve";
  if (cve === undefined || takesFixes) return undefined;
  return `kmend matrix finds the fix of ${cve}; here give the file name of its patch`;
}

/** One line for each problem; an unknown key is named with the line that it stands on. */
function problemsOf(issue: z.core.$ZodIssue, document: Document, lines: LineCounter): string[] {
  const path = issue.path.map((part) => (typeof part === "number" ? part : String(part)));
  const place = path.length === 0 ? "" : ` in ${path.join(".")}`;
  if (issue.code !== "unrecognized_keys") {
    return [`line ${lineOf(document, path, lines)}: ${issue.message}${place}`];
  }
  return issue.keys.map((key) => {
    const map = document.getIn(path, true);
    const pair = isMap(map) ? map.items.find(({ key: node }) => String(node) === key) : undefined;
    const at = isNode(pair?.key) ? pair.key.range?.[0] : undefined;
    const line = at === undefined ? lineOf(document, path, lines) : lines.linePos(at).line;
    return `line ${line}: unknown key "${key}"${place}`;
  });
}

/** Line of the node at a path, or of the closest one above it. */
function lineOf(document: Document, path: readonly (string | number)[], lines: LineCounter): number {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) return lines.linePos(node.range[0]).line;
  }
  return 1;
}

function invalid(path: string, problems: readonly string[]): KmendError {
  return new KmendError({
    code: "MANIFEST",
    message: "the manifest cannot be used",
    where: path,
    why: problems.join("\n"),
    hint: "it needs: packages, a list of name, version and patches, a list of filename and kernels",
    exitCode: ExitCode.usage,
  });
}

function ordersOf(entry: ManifestPackage, folder: string, defaults: ManifestDefaults): PackageOrder[] {
  const profile = entry.profile ?? defaults.profile ?? "kpatch-module";
  const architecture =
    entry.arch === undefined
      ? (defaults.architecture ?? (architectures[62] as Architecture))
      : architectureNamed(entry.arch);
  const version = checked("version", entry.version ?? defaults.version ?? "1");
  const release = checked("release", entry.release ?? defaults.release ?? "1");
  const { summary, description, license, maintainer, cves, severity } = entry;
  const about = { profile, version, release, summary, description, license, maintainer, cves, severity };
  const choices = { ...about, activate: defaults.activate };
  const patchesFor = new Map<string, string[]>();
  const fixes = new Map<string, OrderedFix>();
  for (const { filename, cve, with: before = [], kernels } of entry.patches) {
    const fix = cve === undefined ? undefined : { cve, with: before };
    const patch = fix === undefined ? resolve(folder, filename ?? "") : ["cve:", fix.cve, ...fix.with].join(" ");
    if (fix !== undefined) fixes.set(patch, fix);
    for (const kernel of kernels.flatMap((pattern) => defaults.releasesOf?.(pattern, architecture) ?? [pattern])) {
      const name = defaults.releaseOf?.(kernel, architecture) ?? kernel;
      const list = patchesFor.get(checked("kernel", name)) ?? [];
      if (!list.includes(patch)) list.push(patch);
      patchesFor.set(name, list);
    }
  }
  const base = nameFrom(entry.name.replace(/^kpatch-module-/, ""));
  const modules = [...patchesFor].map(([kernel, patches]): ModuleOrder => {
    const name =
      profile === "kpatch-patch"
        ? cumulativeModuleName(kernel, architecture, version, release)
        : `kpatch-${base.replace(/[.+]/g, "-")}`;
    return { kernel, name, patches, ...(fixes.size === 0 ? {} : { fixes }) };
  });
  const shared = { files: [], kernels: [], architecture };
  if (profile === "kpatch-patch") return modules.map((module) => ({ ...shared, choices, modules: [module] }));
  return [
    {
      ...shared,
      choices: { ...choices, name: `kpatch-module-${checked("name", entry.name).replace(/^kpatch-module-/, "")}` },
      modules,
    },
  ];
}

/** Module name of Red Hat's convention: each version has its own, so that it can replace the one before while both are loaded. */
export function cumulativeModuleName(
  kernel: string,
  architecture: Architecture,
  version: string,
  release: string,
): string {
  const name = `${patchProfileName(kernel, architecture).replace("kpatch-patch-", "kpatch-")}-${version}-${release}`;
  return name.replace(/[^A-Za-z0-9_-]/g, "_");
}
