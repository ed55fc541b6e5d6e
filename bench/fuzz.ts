import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { formatTable } from "../src/cli/terminal/table.ts";
import { ExitCode, KmendError } from "../src/support/errors.ts";

const fuzzHelp = `Usage: npm run bench -- fuzz [PARSER] [COUNT] [--seed S]

Gives damaged inputs to the parsers of everything that others have made. Only an error of kmend's may come out of one, within 20 seconds and 1 GiB.
COUNT is for each parser (default: 1000). Ends with exit code 1 when something else came out; the number of an input finds it again.`;

/** Milliseconds that one input may take: on a busy machine the whole process may have to wait for long. */
const timeLimit = 20_000;
/** MiB of the whole process. */
const memoryLimit = 1024;

interface Finding {
  readonly number: number;
  readonly what: string;
}

interface Outcome {
  readonly findings: readonly Finding[];
  /** MiB. */
  readonly peak: number;
}

/** Runs every parser, or one of them. @param program path of the program whose first word can be `fuzz-parser`. @throws KmendError `USAGE` (exit 2) */
export async function fuzz(words: readonly string[], program: string): Promise<void> {
  if (words.includes("--help") || words.includes("-h")) {
    console.log(fuzzHelp);
    return;
  }
  const { parsers } = await import("./fuzz/parsers.ts");
  const at = words.indexOf("--seed");
  const seed = at < 0 ? "1" : (words[at + 1] ?? "");
  const operands = words.filter((_, index) => at < 0 || (index !== at && index !== at + 1));
  const names = operands.filter((word) => !/^\d+$/.test(word));
  const counts = operands.filter((word) => /^\d+$/.test(word));
  const unknown = names.find((name) => parsers[name] === undefined);
  if (unknown !== undefined || names.length > 1 || counts.length > 1 || !/^\d+$/.test(seed)) {
    throw new KmendError({
      code: "USAGE",
      message: unknown === undefined ? "these words mean nothing here" : `no parser is named ${unknown}`,
      hint: `npm run bench -- fuzz --help; there are ${Object.keys(parsers).join(", ")}`,
      exitCode: ExitCode.usage,
    });
  }
  const count = Number(counts[0] ?? 1000);
  const rows = [["parser", "inputs", "peak memory", "findings"]];
  const findings: string[] = [];
  for (const name of names.length === 0 ? Object.keys(parsers) : names) {
    const outcome = await fuzzParser(program, name, seed, count);
    rows.push([name, `${count}`, `${outcome.peak} MiB`, `${outcome.findings.length}`]);
    findings.push(...outcome.findings.map(({ number, what }) => `${name} ${number}: ${what}`));
  }
  for (const line of formatTable(rows)) console.log(line);
  if (findings.length === 0) return;
  for (const line of findings) console.log(`  ${line}`);
  throw new KmendError({
    code: "FUZZ_FINDINGS",
    message: `${findings.length} inputs did what none may do`,
    hint: `the same again: npm run bench -- fuzz PARSER COUNT --seed ${seed}`,
  });
}

/** All inputs of one parser; what is killed goes on behind the input that it was killed for. */
async function fuzzParser(program: string, name: string, seed: string, count: number): Promise<Outcome> {
  const findings: Finding[] = [];
  let peak = 0;
  for (let from = 0; from < count; ) {
    const part = await runPart(program, [name, seed, `${from}`, `${count}`]);
    findings.push(...part.findings);
    peak = Math.max(peak, part.peak);
    if (part.killedAt === undefined) break;
    from = part.killedAt + 1;
  }
  return { findings, peak };
}

async function runPart(
  program: string,
  words: readonly string[],
): Promise<Outcome & { readonly killedAt: number | undefined }> {
  const child = spawn(process.execPath, [`--max-old-space-size=${memoryLimit}`, program, "fuzz-parser", ...words], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const findings: Finding[] = [];
  let current = Number(words[2]);
  let peak = 0;
  let isDone = false;
  let reason: string | undefined;
  const kill = (why: string): void => {
    reason ??= why;
    child.kill("SIGKILL");
  };
  let timer = setTimeout(() => kill("did not end"), 6 * timeLimit);
  const watch = setInterval(() => {
    const now = residentMemory(child.pid ?? 0);
    peak = Math.max(peak, now);
    if (now > memoryLimit) kill(`took ${now} MiB`);
  }, 50);
  let rest = "";
  child.stdout.setEncoding("utf8").on("data", (piece: string) => {
    clearTimeout(timer);
    timer = setTimeout(() => kill("did not end"), timeLimit);
    const lines = (rest + piece).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const [word = "", number = "", ...text] = line.split(" ");
      if (word === "foreign") findings.push({ number: Number(number), what: text.join(" ") });
      else if (word === "done") {
        isDone = true;
        peak = Math.max(peak, Number(number));
      } else current = Number(word);
    }
  });
  let complaints = "";
  child.stderr.setEncoding("utf8").on("data", (piece: string) => (complaints = (complaints + piece).slice(-2000)));
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  clearTimeout(timer);
  clearInterval(watch);
  if (isDone && peak <= memoryLimit) return { findings, peak, killedAt: undefined };
  if (isDone) findings.push({ number: current, what: `took ${peak} MiB at some input up to this one` });
  else
    findings.push({
      number: current,
      what: reason ?? `ended the process with ${code}: ${complaints.trim().split("\n")[0]}`,
    });
  return { findings, peak, killedAt: isDone ? undefined : current };
}

/** MiB. */
function residentMemory(pid: number): number {
  try {
    return Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? 0) / 1024);
  } catch {
    return 0;
  }
}
