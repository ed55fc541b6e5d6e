import { mkdir, readFile, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { compareCompiler } from "../src/kernel/compiler.ts";
import { findTargetKernel } from "../src/kernel/find.ts";
import type { TargetKernel } from "../src/kernel/target-kernel.ts";
import { prepareTree } from "../src/kernel/tree/prepare.ts";
import { cacheRoot, sha256, writeFileAtomically } from "../src/support/cache.ts";
import { ExitCode, KmendError, messageOf } from "../src/support/errors.ts";
import { mapConcurrently } from "../src/support/run.ts";
import { appendRecord, readRecords } from "./fixes/records.ts";
import { buildUnit, type UnitRecord } from "./replace/build-unit.ts";
import { unitsFor } from "./replace/choose.ts";
import { judgeReplaced } from "./replace/judge.ts";
import { type Load, loads } from "./replace/loads.ts";
import { type GuestResult, replaceReport } from "./replace/report.ts";
import { type GuestWords, runReplaced } from "./replace/run-replaced.ts";

/** What the words of {@link replace} mean. */
const replaceHelp = `Usage: npm run bench -- replace [OPTIONS]

Replaces all functions of units of a stock kernel by others that do the same, and lets the kernel work in a virtual machine. What the kernel logs and what the loads
find is compared with a run without modules. Records go to the cache, below bench/.

  --kernel R      release of a stock kernel; default: newest
  --units N|LIST  how many units, those that everything uses first; or their sources, with commas; default 12
  --stack         all modules are in force at once and stay; else each is taken back before the next
  --load LIST     loads, with commas; default: all
                  ${loads
                    .map(({ name }) => name)
                    .join(" ")
                    .replaceAll(/(.{1,90})(?: |$)/g, "$1\n                  ")
                    .trim()}
  --rounds N      how often all loads run once the modules are loaded; default 2
  --cycles N      without --stack: how often each module comes and goes; default 1
  --per-guest N   units of one guest at most; default: all
  --seed S        which units, and how their functions differ; default 1
  --jobs N        units at once; default: one for each core
  --build-only    build the modules and boot no guest
  --resume        keep the records of an earlier run with this kernel and seed, and go on
  --json          print the result as JSON
  --short         one unit and one load
  -h, --help      show this help`;

/**
 * Replaces functions by equal ones and compares what the kernel then does.
 * @param words see {@link replaceHelp}
 */
export async function replace(words: readonly string[]): Promise<void> {
  const values = readOptions(words);
  if (values.help) {
    console.log(replaceHelp);
    return;
  }
  const say = values.json ? (text: string) => console.error(text) : (text: string) => console.log(text);
  const signal = untilKilled();
  const chosen = chosenLoads(values.load);
  const kernel = await findTargetKernel({ kernel: values.kernel });
  const { program } = await compareCompiler(kernel.image.banner);
  const tree = await prepareTree(kernel, { compiler: program });
  const folder = join(cacheRoot(), "bench", `replace-${kernel.release}`, `seed-${values.seed.replaceAll(/\W/g, "-")}`);
  if (!values.resume) await rm(folder, { recursive: true, force: true });
  const output = join(folder, "modules");
  await mkdir(output, { recursive: true });
  const units = await unitsFor(values.units, tree, values.seed, folder);
  say(`${kernel.release}: ${units.length} units; results in ${folder}`);
  const records = await buildUnits(units, {
    kernel,
    tree: tree.path,
    seed: values.seed,
    output,
    folder,
    jobs: Number(values.jobs),
    say,
    signal,
  });
  const built = records.filter(({ outcome }) => outcome === "built");
  const guests: GuestResult[] = [];
  if (!values["build-only"] && built.length > 0) {
    const common = {
      kernel,
      output,
      loads: chosen,
      rounds: Number(values.rounds),
      stack: values.stack,
      signal,
    };
    const plain = await keptGuest([], common, folder, say);
    const size = Math.max(1, Math.min(built.length, Number(values["per-guest"])));
    for (let at = 0; at < built.length; at += size) {
      const slice = built.slice(at, at + size);
      const part = Array.from({ length: Number(values.cycles) }, () => slice).flat();
      const words = await keptGuest(part, common, folder, say);
      const modules = part.map(({ module }) => module);
      guests.push({ words, judgement: judgeReplaced(plain, words, modules, chosen, values.stack) });
    }
  }
  const result = { kernel: kernel.release, seed: values.seed, stack: values.stack, records, guests };
  console.log(values.json ? JSON.stringify(jsonOf(result), null, 2) : replaceReport(result));
  const isBad = guests.some(({ judgement }) => judgement.differences.length > 0);
  if (isBad || records.some(({ outcome }) => outcome === "failed")) process.exitCode = ExitCode.failure;
}

/** Ends compilers and guests with this process: they have process groups of their own. */
function untilKilled(): AbortSignal {
  const abort = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => abort.abort(ended(name)));
  return abort.signal;
}

function ended(signal: string): KmendError {
  const hint = "with --resume it goes on where it was";
  return new KmendError({ code: "INTERRUPTED", message: `ended by ${signal}`, hint, exitCode: ExitCode.interrupted });
}

interface Builds {
  readonly kernel: TargetKernel;
  readonly tree: string;
  readonly seed: string;
  readonly output: string;
  readonly folder: string;
  readonly jobs: number;
  readonly say: (text: string) => void;
  readonly signal: AbortSignal;
}

/** Builds the units that have no record yet, or one of a failure. */
async function buildUnits(units: readonly string[], builds: Builds): Promise<UnitRecord[]> {
  const file = join(builds.folder, "units.jsonl");
  const done = (await readRecords<UnitRecord>(file)).filter(({ outcome }) => outcome !== "failed");
  const known = new Map(done.map((record) => [record.unit, record]));
  await mapConcurrently(
    units.filter((unit) => !known.has(unit)),
    Math.max(1, builds.jobs),
    async (unit) => {
      builds.signal.throwIfAborted();
      const record = await buildUnit({ ...builds, unit });
      // What was ended says nothing of the unit.
      builds.signal.throwIfAborted();
      await appendRecord(file, record);
      known.set(unit, record);
      const { outcome, replaced, left, problem, milliseconds } = record;
      const without = left.length === 0 ? "" : `, ${left.length} left out`;
      builds.say(
        `${known.size} ${outcome} ${unit} ${replaced.length} functions${without} ${problem} ${milliseconds} ms`,
      );
    },
  );
  return units.map((unit) => known.get(unit) as UnitRecord);
}

/** What a guest said, from an earlier run where that had the same modules and did the same. */
async function keptGuest(
  units: readonly UnitRecord[],
  common: Omit<Parameters<typeof runReplaced>[0], "units">,
  folder: string,
  say: (text: string) => void,
): Promise<GuestWords> {
  const { loads: chosen, rounds, stack } = common;
  const digest = sha256(JSON.stringify([units.map(({ unit }) => unit), chosen, rounds, units.length > 0 && stack]));
  const file = join(folder, `guest-${digest.slice(0, 16)}.json`);
  const kept = await readFile(file, "utf8").catch(() => undefined);
  if (kept !== undefined) return JSON.parse(kept) as GuestWords;
  say(units.length === 0 ? "a guest without modules" : `a guest with ${units.length} modules`);
  const words = await runReplaced({
    ...common,
    units,
    onFrame: ({ name, status }) => say(`  ${name}${status === 0 ? "" : ` ${status}`}`),
  });
  await writeFileAtomically(file, JSON.stringify(words));
  return words;
}

/** The stable result for programs: what the guests said is in the files of the folder. */
function jsonOf({ guests, ...rest }: Parameters<typeof replaceReport>[0]) {
  return { schema: 1, ...rest, guests: guests.map(({ judgement }) => judgement) };
}

function chosenLoads(list: string): Load[] {
  const names = list === "" ? loads.map(({ name }) => name) : list.split(",");
  return names.map((name) => {
    const load = loads.find((one) => one.name === name);
    if (load === undefined) throw usage(`no load is named ${name}`);
    return load;
  });
}

/** @throws KmendError `USAGE` (exit 2) */
function readOptions(words: readonly string[]) {
  const text = (value: string) => ({ type: "string", default: value }) as const;
  const flag = { type: "boolean", default: false } as const;
  const values = (() => {
    try {
      const { values: given } = parseArgs({
        args: [...words],
        options: {
          ...{ kernel: text("newest"), units: text("12"), load: text(""), rounds: text("2"), seed: text("1") },
          ...{ "per-guest": text("100000"), cycles: text("1"), jobs: text(String(availableParallelism())) },
          ...{ stack: flag, "build-only": flag, resume: flag, json: flag, short: flag },
          help: { type: "boolean", short: "h", default: false },
        },
      });
      return given.short ? { ...given, units: "fs/pipe.c", load: "pipes", rounds: "1" } : given;
    } catch (error) {
      throw usage(messageOf(error));
    }
  })();
  const wrong = [values.rounds, values.cycles, values["per-guest"], values.jobs].find(
    (word) => !/^[1-9]\d*$/.test(word),
  );
  if (wrong !== undefined) throw usage(`not a number: ${wrong}`);
  if (values.stack && values.cycles !== "1") throw usage("--cycles is for modules that go, and with --stack they stay");
  return values;
}

function usage(message: string): KmendError {
  return new KmendError({ code: "USAGE", message, hint: "npm run bench -- replace --help", exitCode: ExitCode.usage });
}
