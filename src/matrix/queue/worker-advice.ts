import type { Redis } from "ioredis";
import { version } from "../../support/version.ts";
import { readWorkers, type WorkerEntry } from "./worker-registry.ts";

/** What whoever starts a run should know of the workers that are there: none that can take its cells, some of another version or with another store. */
export async function adviceOnWorkers(
  client: Redis,
  storeId: string,
  needs: readonly string[],
): Promise<readonly string[]> {
  const workers = await readWorkers(client);
  const isFit = ({ version: theirs, store, can }: WorkerEntry): boolean =>
    theirs === version() && store === storeId && needs.every((need) => can.includes(need));
  const others = workers.filter((worker) => worker.version !== version());
  const elsewhere = workers.filter(({ version: theirs, store }) => theirs === version() && store !== storeId);
  return [
    ...others.map(({ host, version: theirs }) => {
      return `the worker on ${host} is kmend ${theirs}, and gets no cells of kmend ${version()}: install the same version`;
    }),
    ...elsewhere.map(({ host }) => `the worker on ${host} has another store: give it the same --store as this command`),
    ...(workers.some(isFit)
      ? []
      : [`no worker that can do ${needs.join(", ")} is there yet: kmend worker --queue URL --store DIR starts one`]),
  ];
}
