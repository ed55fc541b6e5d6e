import { join } from "node:path";
import type { ChangeSet } from "../../change/change-set.ts";
import type { ExternalModule } from "../../kernel/modules/external-module.ts";
import { shippedLoaderFacts } from "../../kernel/modules/loader-facts.ts";
import type { TargetKernel } from "../../kernel/target-kernel.ts";
import type { PreparedTree } from "../../kernel/tree/prepare.ts";
import type { Manifest } from "../../patch-module/manifest.ts";
import { sealModule } from "../../patch-module/seal.ts";
import { sha256, writeFileAtomically } from "../../support/cache.ts";
import { KmendError } from "../../support/errors.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { version } from "../../support/version.ts";
import type { BuildContext } from "../build-context.ts";
import type { BuildOptions, BuildResult } from "../build-types.ts";
import type { Early } from "../prefetch.ts";
import { patchedModules } from "../resolve/patched-modules.ts";
import type { ResolvedUnit, ResolveFacts } from "../resolve/plan.ts";
import type { Warning } from "../warnings/find-warnings.ts";
import { extractUnit } from "./extract.ts";
import type { ModuleTemplate } from "./kbuild-template.ts";
import { kernelIdentity } from "./kernel-identity.ts";
import { addKlpRelocations } from "./klp-relocations.ts";
import { linkModule } from "./link.ts";
import { makeManifest } from "./manifest.ts";
import { patchTable } from "./patch-table.ts";
import { selfCheck } from "./self-check.ts";
import { inLinkOrder, jumpsOf } from "./stack-check-order.ts";

/** What a module is assembled for. */
export interface AssemblyRequest {
  readonly options: BuildOptions;
  /** Module name. */
  readonly name: string;
  /** Folder that gets the module. */
  readonly output: string;
  readonly kernel: TargetKernel;
  /** The kernel's own tree, which modules are linked in; units of an external module are compiled in that of the context. */
  readonly kernelTree: PreparedTree;
  readonly context: BuildContext;
  /** How this kernel's Kbuild makes modules; found out once. */
  readonly template: Early<ModuleTemplate>;
  readonly change: ChangeSet;
  readonly external?: ExternalModule | undefined;
  /** How the change was rewritten before. */
  readonly adapted?: Manifest["adapted"];
  /** Warnings of addresses that outlive the module. */
  readonly keptAddresses?: readonly Warning[] | undefined;
}

/**
 * Extracts, links, adds livepatch relocations, checks, and writes the module.
 * @throws KmendError `TEMPLATE_FAILED`, `LINK_FAILED`, `SELF_CHECK`; then nothing is written.
 */
export async function assemble(
  request: AssemblyRequest,
  units: readonly ResolvedUnit[],
  symvers: ResolveFacts["symvers"],
): Promise<NonNullable<BuildResult["module"]>> {
  const { context, kernel, name, kernelTree, output, options, external } = request;
  const { signal, progress } = context;
  const resolved = inLinkOrder(units);
  const staysInMemory = (request.keptAddresses ?? []).length > 0 && options.removable !== true;
  const template = await request.template.result();
  const file = await progress.phase("link", "Link the patch module", async () => {
    const jumps = jumpsOf(resolved, !staysInMemory);
    const extracts = resolved.map((unit, number) =>
      extractUnit({
        unit: unit.plan.patched,
        selection: unit.selection,
        redirections: unit.redirections,
        callbacks: unit.plan.changes.callbacks,
        object: unit.plan.pair.object,
        number,
        jumps,
        reachOriginal: unit.reachOriginal,
        reachExternal: unit.reachExternal,
      }),
    );
    options.onObjects?.(
      extracts.map(({ object }, number) => {
        const { source, object: target } = (resolved[number] as ResolvedUnit).plan.pair;
        return { kind: "extracted", unit: source, object: target, content: object };
      }),
    );
    const linkFolder = join(context.folder, "link");
    await makeFolder(linkFolder);
    const objects = resolved.map(({ plan }) => plan.pair.object);
    const modules = await patchedModules(objects, kernel, external);
    const tables = tablesOf(request, resolved, symvers, modules);
    const linked = await linkModule({
      ...{ tree: kernelTree, template, name, symvers, signal },
      objects: [...extracts, tables].map(({ object }) => object),
      ...{ folder: linkFolder, logFile: context.logFile },
    });
    return sealModule(
      addKlpRelocations(
        linked,
        [...extracts, tables].flatMap(({ klpRelocations }) => klpRelocations),
        extracts.flatMap(({ linkNames }) => linkNames),
      ),
    );
  });
  const redirections = resolved.reduce((sum, unit) => sum + unit.redirections.length, 0);
  const problems = await progress.phase("check", "Check the patch module", async () =>
    selfCheck(file, {
      shipped: await shippedLoaderFacts(kernel.modulesDir, signal),
      ...{ name, release: kernel.release, symvers, redirections },
    }),
  );
  if (problems.length > 0) {
    throw new KmendError({
      code: "SELF_CHECK",
      message: "the patch module would not load correctly, so it is not written",
      why: problems.join("\n"),
      hint: "this is a defect of kmend; please report it with the patch and the kernel's release",
    });
  }
  const path = join(output, `${name}.ko`);
  await writeFileAtomically(path, file);
  return { path, name, sha256: sha256(file), bytes: file.length, staysInMemory };
}

/** True for a cumulative module, which replaces all before it; others may be covered by later ones, function by function. */
export function replacesAll({ replace, earlier }: BuildOptions): boolean {
  return replace !== false && earlier === undefined;
}

/** The object with the tables of the glue, the texts for modinfo and the manifest. */
function tablesOf(
  request: AssemblyRequest,
  resolved: readonly ResolvedUnit[],
  symvers: ResolveFacts["symvers"],
  modules: Manifest["modules"] = [],
): ReturnType<typeof patchTable> {
  const { options, kernel, change, external } = request;
  const replace = replacesAll(options);
  const after = options.earlier?.modules.map((module) => ({ name: module.name, sha256: sha256(module.content) }));
  const counts = resolved.map(({ redirections, plan }) => ({
    functions: redirections.length,
    callbacks: plan.changes.callbacks.length,
  }));
  const identity = kernelIdentity(kernel.image);
  const manifest = makeManifest(resolved, {
    kernel: { release: kernel.release, buildId: kernel.buildId },
    ...(identity === undefined ? {} : { own: identity.symbols }),
    replace,
    allowedLayouts: options.allowLayout ?? [],
    patches: change.patches,
    ...((options.cves ?? []).length === 0 ? {} : { cves: options.cves }),
    ...(request.adapted === undefined ? {} : { adapted: request.adapted }),
    ...keptIn(request),
    ...(after === undefined ? {} : { after }),
    ...(modules.length === 0 ? {} : { modules }),
    ...(external === undefined ? {} : { external: { name: external.name, sha256: sha256(external.file) } }),
  });
  const like = (resolved[0] as ResolvedUnit).plan.patched.elf;
  return patchTable(like, counts, modinfoTexts(request, resolved, symvers), manifest, identity);
}

/** What the manifest says of how long the module has to stay in memory. */
function keptIn({ keptAddresses = [], options }: AssemblyRequest): Pick<Manifest, "keptAddresses" | "removable"> {
  if (keptAddresses.length === 0) return {};
  const reasons = keptAddresses.map(
    ({ function: name, place, why }) => `${name}${place === undefined ? "" : ` (${place})`}: ${why}`,
  );
  return { keptAddresses: reasons, ...(options.removable === true ? { removable: true } : {}) };
}

/** What a loaded or a stray module tells about itself through modinfo(8), and the namespaces whose symbols it uses. */
function modinfoTexts(
  { kernel, change, options }: AssemblyRequest,
  resolved: readonly ResolvedUnit[],
  symvers: ResolveFacts["symvers"],
): string[] {
  const reached = resolved.flatMap((unit) =>
    [...unit.reached].flatMap(([name, reach]) => (reach.by === "loader" ? [name] : [])),
  );
  const namespaces = new Set(
    reached.map((name) => symvers.get(name)?.namespace ?? "").filter((namespace) => namespace !== ""),
  );
  const sanitise = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, "?");
  return [
    ...[...namespaces].sort().map((namespace) => `import_ns=${namespace}`),
    `kmend=${version()}`,
    `kmend.kernel=${kernel.buildId}`,
    ...change.patches.map(({ name, sha256: digest }) => `kmend.patch=${digest} ${sanitise(name)}`),
    ...(options.allowLayout ?? []).map((type) => `kmend.allow-layout=${sanitise(type)}`),
  ];
}
