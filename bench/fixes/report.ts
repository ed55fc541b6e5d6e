import { isWholeFile } from "./corpus.ts";
import type { FixOutcome, FixRecord, TryRecord } from "./records.ts";
import type { Session } from "./session.ts";
import { byRefusal, effective, onlyCode, quantile, type Share, share } from "./statistics.ts";

/** What a report is made of. */
export interface ReportInput {
  readonly session: Session;
  readonly seed: string;
  readonly records: readonly FixRecord[];
  readonly tries: readonly TryRecord[];
}

const outcomeTexts: Readonly<Record<FixOutcome, string>> = {
  built: "built and proven",
  refused: "refused",
  unchanged: "nothing that the kernel runs changes",
  "not-built": "this kernel does not build the file",
  joined: "needs other files, and their common patch is another case",
  incomplete: "does not compile by itself, and no small patch that does was found",
  failed: "failed",
};

/** The report in Markdown. For the same versions, seed and number it is the same, but for its section on times. */
export function report(input: ReportInput): string {
  const { session, records, seed } = input;
  const { pair, corpus } = session;
  const files = corpus.fixes.filter(isWholeFile).length;
  const whole = records.filter(({ id }) => !id.includes("#"));
  return [
    `# Real fixes: ${pair.older.packageVersion} → ${pair.newer.packageVersion}`,
    "",
    `${files + corpus.notBuilt.length} C files differ, ${files} of them belong to ${pair.older.release} and ${corpus.notBuilt.length} do not. ` +
      `They give ${corpus.fixes.length} patches, of whole files and of function groups; these are the first ${records.length} in the order of seed ${seed}, ${whole.length} of them whole files.`,
    "",
    ...outcomeTable(records),
    "",
    ...refusalTable(records),
    "",
    `${records.filter(({ outcome, hasEnded }) => outcome === "incomplete" && hasEnded !== true).length} of those that do not compile by themselves were not joined with other files in this run.`,
    "",
    `Of the fixes that are whole and change what the kernel runs: ${percent(share(effective(records)))} built. ` +
      `Of those that change only code: ${percent(share(onlyCode(records)))} built. ` +
      `${whole.length === 0 || whole.length === records.length ? "" : `Of whole files alone: ${percent(share(effective(whole)))} built. `}` +
      `${records.filter(({ files: parts, outcome }) => outcome === "built" && parts.length > 1).length} built ones join several files.`,
    "",
    ...tryTable(input.tries),
    "## Times",
    "",
    ...timeLines(records),
    "",
  ].join("\n");
}

function outcomeTable(records: readonly FixRecord[]): string[] {
  const rows = Object.entries(outcomeTexts).flatMap(([outcome, text]) => {
    const group = records.filter((record) => record.outcome === outcome);
    return group.length === 0 && outcome !== "failed"
      ? []
      : [`| ${text} | ${group.length} | ${percentOf(group.length, records.length)} | ${examples(group)} |`];
  });
  return ["| Outcome | Fixes | Share | Examples |", "|---|---:|---:|---|", ...rows];
}

function refusalTable(records: readonly FixRecord[]): string[] {
  const refused = records.filter(({ outcome }) => outcome === "refused");
  const rows = byRefusal(refused).map(([code, group]) => {
    const alone = group.filter(({ refusals }) => refusals.every((refusal) => refusal.code === code)).length;
    const shown = [...group].sort(byId).slice(0, 3);
    const texts = shown.map(
      ({ id, refusals }) => `\`${id}\`: ${refusals.find((refusal) => refusal.code === code)?.what}`,
    );
    return `| ${code} | ${group.length} | ${alone} | ${texts.join("; ")} |`;
  });
  return ["| Refusal | Fixes | with no other code | Examples |", "|---|---:|---:|---|", ...rows];
}

function tryTable(tries: readonly TryRecord[]): string[] {
  if (tries.length === 0) return [];
  const failed = tries.filter(({ verdict }) => verdict === "failed").sort(byId);
  const ofModules = tries.filter(({ targets }) => Object.keys(targets).length > 0);
  const loaded = ofModules.filter(({ targets }) => Object.values(targets).every(Boolean));
  return [
    `In a virtual machine ${tries.length - failed.length} of ${tries.length} were loaded, put in force, taken back and unloaded without a complaint of the kernel. ` +
      `${ofModules.length} of them are for modules, and for ${loaded.length} of these the module could be loaded first (the others look for hardware).`,
    "",
    ...failed.map(({ id, failure }) => `* \`${id}\`: ${failure}`),
    "",
  ];
}

function timeLines(records: readonly FixRecord[]): string[] {
  const built = records.filter(({ outcome }) => outcome === "built");
  const total = built.map(({ milliseconds }) => milliseconds["total"] ?? Number.NaN);
  const measured = built.filter(({ bareMilliseconds }) => bareMilliseconds !== undefined);
  const ratios = measured.map((record) => (record.milliseconds["total"] ?? 0) / (record.bareMilliseconds ?? 1));
  const phases = [...new Set(built.flatMap(({ milliseconds }) => Object.keys(milliseconds)))].filter(
    (name) => name !== "total",
  );
  const memory = records.map(({ residentMegabytes }) => residentMegabytes);
  return [
    `Built fixes: median ${inSeconds(quantile(total, 0.5))}, 90 % below ${inSeconds(quantile(total, 0.9))}, longest ${inSeconds(Math.max(...total))}. ` +
      `${againstBare(ratios)} Most memory of this process: ${Math.max(...memory)} MiB.`,
    "",
    "| Phase | Fixes | Median | 90 % below |",
    "|---|---:|---:|---:|",
    ...phases.map((name) => {
      const values = built.flatMap(({ milliseconds }) => milliseconds[name] ?? []);
      return `| ${name} | ${values.length} | ${quantile(values, 0.5)} ms | ${quantile(values, 0.9)} ms |`;
    }),
  ];
}

function againstBare(ratios: readonly number[]): string {
  if (ratios.length === 0) return "The bare compilers were not measured: no original was new to the cache.";
  return (
    `Against the bare compilers of both builds, measured for ${ratios.length} of them: median ratio ${quantile(ratios, 0.5).toFixed(2)}, ` +
    `90 % below ${quantile(ratios, 0.9).toFixed(2)}.`
  );
}

function examples(records: readonly FixRecord[]): string {
  return [...records]
    .sort(byId)
    .slice(0, 3)
    .map(({ id }) => `\`${id}\``)
    .join(", ");
}

function byId(a: { readonly id: string }, b: { readonly id: string }): number {
  return a.id < b.id ? -1 : 1;
}

function percent({ built, of }: Share): string {
  return `${built} of ${of} (${percentOf(built, of)})`;
}

function percentOf(part: number, whole: number): string {
  return whole === 0 ? "–" : `${((100 * part) / whole).toFixed(1)} %`;
}

function inSeconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}
