import { ExitCode } from "../../support/errors.ts";
import type { CommandDefinition } from "../command.ts";

const dayMilliseconds = 24 * 60 * 60 * 1000;

export const cacheCommand: CommandDefinition = {
  name: "cache",
  summary: "list what the cache holds, and remove what is not used",
  description:
    "Lists the build roots, what was made for each kernel, and the other folders of the cache, with their sizes. Everything in the cache can be made again.",
  arguments: [],
  options: [
    {
      flags: "--prune <DAYS>",
      description:
        "remove build roots, and what was made for kernels, that were not used for so many days; 0: all that no process uses",
      minimum: 0,
    },
  ],
  examples: [
    { command: "kmend cache", description: "list what the cache holds" },
    { command: "kmend cache --prune 30", description: "remove what was not used for a month" },
  ],
  exitCodes: {},
  async run(context, _operands, options) {
    const { cacheContents, pruneCache } = await import("../../kernel/roots/cache-contents.ts");
    const { cacheRoot } = await import("../../support/cache.ts");
    const { formatTable } = await import("../terminal/table.ts");
    const cache = cacheRoot();
    const days = options.integer("prune");
    const parts =
      days === undefined
        ? await cacheContents(cache, context.signal)
        : await pruneCache(cache, days * dayMilliseconds, context.signal);
    if (context.json) {
      const rows = parts.map(({ used, ...part }) => ({ ...part, used: new Date(used).toISOString() }));
      context.printJson({ schema: 1, cache, [days === undefined ? "contents" : "removed"]: rows });
      return ExitCode.done;
    }
    const rows = parts.map(({ kind, name, size, used }) => [
      kinds[kind],
      name,
      `${Math.ceil(size / 2 ** 20)} MiB`,
      `used ${new Date(used).toISOString().slice(0, 10)}`,
    ]);
    const total = Math.ceil(parts.reduce((sum, { size }) => sum + size, 0) / 2 ** 20);
    context.print(days === undefined ? `${cache}: ${total} MiB` : `removed from ${cache}: ${total} MiB`);
    for (const line of formatTable(rows)) context.print(line);
    return ExitCode.done;
  },
};

const kinds = { root: "build root", kernel: "kernel", folder: "folder" } as const;
