import { Redis, type RedisOptions } from "ioredis";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { type QueueAddress, shownAddress } from "./queue-address.ts";
import { queueError } from "./queue-error.ts";

/** All keys begin with it, those of BullMQ too. */
export const queuePrefix = "kmend";

/** The oldest Redis that is used. Valkey says 7.2.4, which it came from. */
const oldestMajor = 7;

/** How long the first answer may take, in milliseconds. */
const answerMilliseconds = 10_000;

/** A queue with less free memory than this is full, in bytes. */
const leastFreeBytes = 1_000_000;

/** A connection that is known to work, and what others are made with. */
export interface QueueConnection {
  readonly client: Redis;
  readonly options: RedisOptions;
  /** Address without who asks. */
  readonly place: string;
}

/**
 * Connects to the queue, and makes sure before any work that it can do what is needed: version, memory policy, a database of its own, permission to write.
 * @throws KmendError `QUEUE_UNREACHABLE`, `QUEUE_DENIED`, `QUEUE_TOO_OLD`, `QUEUE_EVICTS`, `QUEUE_OTHER_DATA`, `QUEUE_FULL`, `QUEUE_READ_ONLY`, `QUEUE_TLS` (exit 5)
 */
export async function connectQueue(
  address: QueueAddress,
  onTrouble: (text: string) => void = () => {},
): Promise<QueueConnection> {
  const { host, port, database: db, user: username, password, tls } = address;
  const place = shownAddress(address);
  const options: RedisOptions = {
    ...{ host, port, db, maxRetriesPerRequest: null, connectionName: "kmend", enableReadyCheck: true },
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls: tls.ca === "system" ? {} : { ca: tls.ca } }),
    // What is lost comes back: a queue that starts again is waited for.
    retryStrategy: (times) => Math.min(times * 200, 3000),
  };
  await tryOnce(options, place);
  const client = new Redis(options);
  let isTold = false;
  client.on("error", (error) => {
    if (!isTold)
      onTrouble(`the queue is lost, and tried again: ${queueError(error, place).message} (${error.message})`);
    isTold = true;
  });
  client.on("ready", () => {
    if (isTold) onTrouble("the queue is back");
    isTold = false;
  });
  return { client, options, place };
}

/** A connection that gives up at once. */
async function tryOnce(options: RedisOptions, place: string): Promise<void> {
  let last: unknown;
  const { client, close } = trial(options, (error) => {
    last = error;
  });
  try {
    await client.connect();
    await requireFit(client, place);
  } catch (error) {
    throw queueError(last ?? error, place);
  } finally {
    close();
  }
}

function trial(options: RedisOptions, onError: (error: Error) => void): { client: Redis; close: () => void } {
  const client = new Redis({
    ...{ ...options, lazyConnect: true, enableReadyCheck: false, retryStrategy: () => null },
    ...{ connectTimeout: answerMilliseconds, commandTimeout: answerMilliseconds, maxRetriesPerRequest: 0 },
  });
  client.on("error", onError);
  return { client, close: () => client.disconnect() };
}

async function requireFit(client: Redis, place: string): Promise<void> {
  const info = await client.info();
  const value = (name: string): string => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1] ?? "";
  const version = value("redis_version");
  if (Number.parseInt(version, 10) < oldestMajor) {
    throw unfit(
      "QUEUE_TOO_OLD",
      `the queue is Redis ${version}`,
      place,
      `Redis ${oldestMajor} or Valkey is needed`,
      "update it: Debian 12 and later have redis-server 7",
    );
  }
  const policy = value("maxmemory_policy");
  if (value("maxmemory") !== "0" && policy !== "" && policy !== "noeviction") {
    throw unfit(
      "QUEUE_EVICTS",
      "the queue throws keys away when its memory is full",
      place,
      `its maxmemory-policy is ${policy}: cells would be lost`,
      "CONFIG SET maxmemory-policy noeviction",
    );
  }
  const [most, used] = [Number(value("maxmemory")), Number(value("used_memory"))];
  if (most > 0 && most - used < leastFreeBytes) {
    throw unfit(
      "QUEUE_FULL",
      "the queue has no memory left",
      place,
      `it uses ${used} of ${most} bytes, and a thousand cells need about a megabyte`,
      "raise maxmemory of Redis, or remove what else is in it",
    );
  }
  const mark = `${queuePrefix}:format`;
  const format = await client.get(mark);
  const size = format === null ? await client.dbsize() : 0;
  if (size > 0 || (format !== null && format !== "1")) {
    throw unfit(
      "QUEUE_OTHER_DATA",
      size > 0
        ? `the database of the queue has ${size} keys of something else`
        : `the queue has format ${format}, and this kmend knows 1`,
      place,
      "kmend takes a database that is empty or its own",
      "give another database of this Redis: redis://HOST:6379/1",
    );
  }
  await client.set(mark, "1");
}

function unfit(code: string, message: string, where: string, why: string, hint: string): KmendError {
  return new KmendError({ code, message, where, why, hint, exitCode: ExitCode.environment });
}
