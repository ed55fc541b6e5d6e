import { ExitCode } from "../../support/errors.ts";
import type { Need } from "../../support/requirement-table.ts";
import type { CommandContext, CommandDefinition, OptionValues } from "../command.ts";
import { connectTo, queueOptions } from "../options/queue-options.ts";
import { signerOf, signOptions } from "../options/sign-options.ts";
import { usageError } from "../options/usage.ts";

export const workerCommand: CommandDefinition = {
  name: "worker",
  summary: "build cells of kmend matrix from a queue",
  description:
    "Takes cells from the queue of kmend matrix --queue, and puts their results into the store, which the machines share. Ends at SIGTERM; what it has begun then goes back to the queue. What a killed worker had begun is built by another one.",
  arguments: [],
  options: [
    ...queueOptions,
    { flags: "--store <PLACE>", description: "the store that kmend matrix uses: a folder, or s3://BUCKET/FOLDER" },
    { flags: "-j, --jobs <N>", description: "cells at once (default: half the cores)", minimum: 1 },
    {
      flags: "--can <WORDS>",
      description:
        "what this machine can do, with commas: `debian-12,x86_64,try,deb,rpm,sign` (default: what is found here, without sign)",
    },
    { flags: "--idle <SECONDS>", description: "end after so many seconds without a cell (default: never)", minimum: 1 },
    { flags: "--metrics <ADDRESS:PORT>", description: "serve metrics for Prometheus" },
    ...signOptions,
    { flags: "--no-install", description: "never install missing packages" },
  ],
  examples: [
    {
      command: "kmend worker --queue redis://queue.example.org --store /mnt/store",
      description: "build what this machine can build",
    },
    {
      command:
        "kmend worker --queue redis://queue.example.org --store /mnt/store --can sign --sign-key K --sign-cert C",
      description: "only sign modules",
    },
  ],
  exitCodes: { [ExitCode.environment]: "the queue or a program is missing" },
  async run(context, _operands, options) {
    const url = options.text("queue");
    const folder = options.text("store");
    if (url === undefined || folder === undefined) throw usageError("kmend worker", "--queue and --store are needed");
    const can = await wordsOf(options);
    await prepare(context, options, can);
    const { availableParallelism } = await import("node:os");
    const { openStore } = await import("../../matrix/store/open-store.ts");
    const { ownProgram } = await import("../../support/own-program.ts");
    const store = await openStore(folder);
    const connection = await connectTo(url, options, context);
    const { runWorker } = await import("../../matrix/queue/worker.ts");
    const { WorkerMetrics } = await import("../../matrix/queue/worker-metrics.ts");
    const cores = availableParallelism();
    const slots = options.integer("jobs") ?? Math.max(1, Math.floor(cores / 2));
    const jobs = Math.max(1, Math.ceil(cores / slots));
    const { progress, signal } = context;
    const services = {
      store,
      program: ownProgram(),
      jobs,
      facts: new Map(),
      signer: signerOf("kmend worker", options),
      signal,
    };
    const metrics = new WorkerMetrics();
    const served = await serveMetrics(options.text("metrics"), () => metrics.text());
    const idle = options.integer("idle");
    const idleMilliseconds = idle === undefined ? undefined : idle * 1000;
    try {
      progress.note(`kmend worker for ${connection.place}: ${slots} at once, can ${can.join(", ")}`);
      const note = (text: string): void => progress.note(text);
      const done = await runWorker({ connection, services, jobs: slots, can, idleMilliseconds, note, metrics, signal });
      if (context.json) context.printJson({ schema: 1, outcome: "ended", done });
      else context.print(`${done} steps done`);
      return ExitCode.done;
    } finally {
      await served?.close();
    }
  },
};

async function serveMetrics(address: string | undefined, text: () => string) {
  if (address === undefined) return undefined;
  const { serveText } = await import("../../matrix/serve/http-server.ts");
  return serveText(address, { "/metrics": () => ({ type: "text/plain; version=0.0.4", body: text() }) });
}

/** What the machine can do. @throws KmendError `USAGE` (exit 2) */
async function wordsOf(options: OptionValues): Promise<readonly string[]> {
  const { wordPattern } = await import("../../matrix/queue/lanes.ts");
  const given = options.text("can")?.split(",");
  const wrong = given?.find((word) => !wordPattern.test(word));
  if (wrong !== undefined)
    throw usageError("kmend worker", `--can "${wrong}": words have small letters, digits and ._-`);
  const signs = signerOf("kmend worker", options) !== undefined;
  if (given?.includes("sign") === true && !signs)
    throw usageError("kmend worker", "--can sign needs --sign-key and --sign-cert");
  if (given !== undefined) return [...new Set(given)].sort();
  if (signs)
    throw usageError("kmend worker", "a key is used by a worker with --can sign only, which does nothing else");
  const { ownWords } = await import("../../matrix/queue/own-words.ts");
  return ownWords();
}

async function prepare(
  { progress, signal }: CommandContext,
  options: OptionValues,
  can: readonly string[],
): Promise<void> {
  const { ensureRequirements } = await import("../../support/requirements.ts");
  const builds = can.some((word) => !["try", "deb", "rpm", "sign"].includes(word));
  const known: readonly Need[] = ["try", "deb", "rpm", "sign"];
  const needs: Need[] = [...(builds ? (["build"] as const) : []), ...known.filter((need) => can.includes(need))];
  await ensureRequirements({ needs, install: options.flag("install"), progress, signal });
}
