import { sha256 } from "../../support/cache.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import type { Step, StepRecords } from "../step.ts";
import type { Store } from "./store.ts";

function recordName(kind: Step["kind"], key: string): string {
  return `results/${kind}/${key.slice(0, 2)}/${key}.json`;
}

function objectName(digest: string): string {
  return `objects/${digest.slice(0, 2)}/${digest}`;
}

/** Puts content into a store. @returns its SHA-256, by which it is found. */
export async function putObject(store: Store, content: Uint8Array): Promise<string> {
  const digest = sha256(content);
  if ((await store.create(objectName(digest), content)) === "other") throw damaged(store, objectName(digest));
  return digest;
}

/** Content of an object. @throws KmendError `STORE_DAMAGED` when it is missing or is not what its name says. */
export async function getObject(store: Store, digest: string): Promise<Uint8Array> {
  const content = await store.read(objectName(digest));
  if (content === undefined || sha256(content) !== digest) throw damaged(store, objectName(digest));
  return content;
}

function damaged(store: Store, name: string): KmendError {
  return new KmendError({
    code: "STORE_DAMAGED",
    message: `${name} of the store is missing, or has not the content that its name says`,
    where: store.place,
    why: "results name objects by their SHA-256",
    hint: `restore the store from its backup, or remove it: everything is then built again`,
  });
}

/** What is remembered of a step, or undefined. @throws KmendError `STORE_DAMAGED` */
export async function readRecord<Kind extends Step["kind"]>(
  store: Store,
  kind: Kind,
  key: string,
): Promise<StepRecords[Kind] | undefined> {
  const name = recordName(kind, key);
  const content = await store.read(name);
  if (content === undefined) return undefined;
  let value: { schema?: unknown; kind?: unknown; key?: unknown; record?: StepRecords[Kind] };
  try {
    value = JSON.parse(Buffer.from(content).toString("utf8")) as typeof value;
  } catch {
    throw damaged(store, name);
  }
  if (value.schema !== 1 || value.kind !== kind || value.key !== key || value.record === undefined)
    throw damaged(store, name);
  return value.record;
}

/** Remembers what a step came to; its objects have to be in the store already. @throws KmendError `NOT_REPRODUCIBLE` when something else is remembered. */
export async function putRecord<Kind extends Step["kind"]>(
  store: Store,
  kind: Kind,
  key: string,
  record: StepRecords[Kind],
): Promise<void> {
  const content = Buffer.from(`${JSON.stringify({ schema: 1, kind, key, record })}\n`);
  if ((await store.create(recordName(kind, key), content)) !== "other") return;
  throw notReproducible(store, kind, key);
}

/** Two results of the same question differ. */
export function notReproducible(store: Store, kind: Step["kind"], key: string): KmendError {
  return new KmendError({
    code: "NOT_REPRODUCIBLE",
    message: `the same ${kind} gave something else than before`,
    where: `${store.place}: ${recordName(kind, key)}`,
    why: "the key has in it all that a result may depend on, so that one of the two was made with something else",
    hint: "compare the machines that made them: compilers, pahole, and the version of kmend; remove the record to build it again",
    exitCode: ExitCode.failure,
  });
}
