import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { freePort, RedisServer } from "../../bench/matrix/redis-server.ts";
import { queueAddress } from "../../src/matrix/queue/queue-address.ts";
import { connectQueue } from "../../src/matrix/queue/queue-connection.ts";
import { KmendError } from "../../src/support/errors.ts";
import { kmend } from "../cli/captured.ts";
import { StandIn } from "./stand-in.ts";

let world: StandIn;
let redis: RedisServer | undefined;
let server: Server | undefined;

beforeEach(() => {
  world = new StandIn();
});
afterEach(async () => {
  server?.close();
  server = undefined;
  await redis?.remove();
  redis = undefined;
  delete process.env["KMEND_QUEUE_PASSWORD"];
  world.remove();
});

async function problem(
  url: string,
  more: { readonly ca?: string; readonly passwordFile?: string } = {},
): Promise<KmendError> {
  const error = await connect(url, more).catch((thrown: unknown) => thrown);
  if (error instanceof KmendError) return error;
  throw new Error(`no problem: ${String(error)}`);
}

async function connect(
  url: string,
  more: { readonly ca?: string; readonly passwordFile?: string } = {},
): Promise<string> {
  const { client } = await connectQueue(await queueAddress({ url, ...more }));
  const said = await client.ping();
  client.disconnect();
  return said;
}

test("a queue that is down is told before any work", async () => {
  const error = await problem(`redis://127.0.0.1:${await freePort()}`);
  expect(error).toMatchObject({ code: "QUEUE_UNREACHABLE", exitCode: 5 });
  expect(error.hint).toContain("redis-server");
});

test("the command and the worker tell it too", async () => {
  const url = `redis://127.0.0.1:${await freePort()}`;
  const worker = await kmend("worker", "--queue", url, "--store", join(world.folder, "store"), "--can", "deb");
  expect(worker).toMatchObject({ exitCode: 5 });
  expect(worker.stderr).toContain("error[QUEUE_UNREACHABLE]");
});

test("a Redis that is too old", async () => {
  server = createServer((socket) => {
    const text = "# Server\r\nredis_version:6.0.16\r\n# Memory\r\nmaxmemory:0\r\n";
    socket.on("data", (bytes) => {
      for (const command of bytes
        .toString()
        .split(/^\*\d+\r\n/m)
        .slice(1)) {
        const isInfo = /^\$4\r\ninfo/i.test(command);
        socket.write(isInfo ? `$${text.length}\r\n${text}\r\n` : "+OK\r\n");
      }
    });
    socket.on("error", () => {});
  });
  const port = await freePort();
  await new Promise<void>((listening) => server?.listen(port, "127.0.0.1", listening));
  const error = await problem(`redis://127.0.0.1:${port}`);
  expect(error).toMatchObject({ code: "QUEUE_TOO_OLD", message: "the queue is Redis 6.0.16", exitCode: 5 });
});

test("a Redis that has data of somebody else, and another database of it", async () => {
  redis = await new RedisServer().start();
  const client = redis.client();
  await client.set("session:1", "x");
  client.disconnect();
  const error = await problem(redis.url);
  expect(error).toMatchObject({ code: "QUEUE_OTHER_DATA", exitCode: 5 });
  expect(error.message).toBe("the database of the queue has 1 keys of something else");
  expect(await connect(`${redis.url}/1`)).toBe("PONG");
});

test("a queue of a later format", async () => {
  redis = await new RedisServer().start();
  const client = redis.client();
  await client.set("kmend:format", "2");
  client.disconnect();
  expect(await problem(redis.url)).toMatchObject({ code: "QUEUE_OTHER_DATA" });
});

test("a Redis that is full, and one that would throw cells away", async () => {
  redis = await new RedisServer("--maxmemory", "4mb", "--maxmemory-policy", "noeviction").start();
  await connect(redis.url);
  const client = redis.client();
  for (let at = 0; ; at++) {
    const said = await client.set(`kmend:${at}`, "x".repeat(100_000)).catch((error: Error) => error.message);
    if (said !== "OK") break;
  }
  client.disconnect();
  expect(await problem(redis.url)).toMatchObject({ code: "QUEUE_FULL", exitCode: 5 });
  await redis.remove();
  redis = await new RedisServer("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru").start();
  expect(await problem(redis.url)).toMatchObject({ code: "QUEUE_EVICTS", exitCode: 5 });
});

test("a replica", async () => {
  redis = await new RedisServer(
    "--replicaof",
    "127.0.0.1",
    String(await freePort()),
    "--replica-serve-stale-data",
    "yes",
  ).start();
  expect(await problem(redis.url)).toMatchObject({ code: "QUEUE_READ_ONLY" });
});

test("a password comes from a file or the environment, and is in no message", async () => {
  redis = await new RedisServer("--requirepass", "geheim").start();
  expect(await problem(redis.url)).toMatchObject({ code: "QUEUE_DENIED", exitCode: 5 });
  process.env["KMEND_QUEUE_PASSWORD"] = "geheim";
  expect(await connect(redis.url)).toBe("PONG");
  expect(process.env["KMEND_QUEUE_PASSWORD"], "children do not see it").toBeUndefined();
  const file = join(world.folder, "password");
  writeFileSync(file, "geheim\n");
  expect(await connect(redis.url, { passwordFile: file })).toBe("PONG");
  writeFileSync(file, "falsch\n");
  const wrong = await problem(redis.url, { passwordFile: file });
  expect(wrong).toMatchObject({ code: "QUEUE_DENIED" });
  expect(`${wrong.message}${wrong.where}${wrong.why}${wrong.hint}`).not.toMatch(/geheim|falsch/);
});

test("a password on the command line is refused, and not repeated", async () => {
  const { exitCode, stdout, stderr } = await kmend(
    ...["worker", "--queue", "redis://me:geheim@127.0.0.1", "--store", join(world.folder, "s"), "--can", "deb"],
  );
  expect(exitCode).toBe(2);
  expect(stderr).toContain("everybody on this machine sees it");
  expect(stdout + stderr).not.toContain("geheim");
});

test("a user who may not do enough, and one who may", async () => {
  redis = await new RedisServer().start();
  const client = redis.client();
  await client.call("ACL", "SETUSER", "little", "on", ">p", "~kmend:*", "+info", "+ping");
  await client.call(
    ...(["ACL", "SETUSER", "kmend", "on", ">p", "~kmend:*", "&kmend:*", "+@all", "-@dangerous", "+info"] as const),
  );
  client.disconnect();
  const file = join(world.folder, "password");
  writeFileSync(file, "p\n");
  const at = (user: string): string => (redis as RedisServer).url.replace("//", `//${user}@`);
  const error = await problem(at("little"), { passwordFile: file });
  expect(error).toMatchObject({ code: "QUEUE_DENIED", exitCode: 5 });
  expect(error.hint).toContain("ACL SETUSER");
  expect(await connect(at("kmend"), { passwordFile: file })).toBe("PONG");
});

test("TLS with an authority of one's own", async () => {
  const [key, certificate] = [join(world.folder, "key.pem"), join(world.folder, "cert.pem")];
  const words = [
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-subj",
    "/CN=queue",
    "-addext",
    "subjectAltName=IP:127.0.0.1",
  ];
  execFileSync("openssl", [...words, "-keyout", key, "-out", certificate], { stdio: "ignore" });
  const port = await freePort();
  const tls = [
    "--tls-port",
    String(port),
    "--tls-cert-file",
    certificate,
    "--tls-key-file",
    key,
    "--tls-auth-clients",
    "no",
  ];
  redis = await new RedisServer(...tls).start();
  expect(await connect(`rediss://127.0.0.1:${port}`, { ca: certificate })).toBe("PONG");
  expect(await problem(`rediss://127.0.0.1:${port}`)).toMatchObject({ code: "QUEUE_TLS" });
});

test.each([
  ["http://x", "is not the address of a Redis"],
  ["nonsense", "is not the address of a Redis"],
  ["redis://x/name", "no number of a database: /name"],
  ["redis://x/0?password=geheim", "no number of a database"],
])("%s is no queue", async (url, said) => {
  const error = await problem(url);
  expect(error).toMatchObject({ code: "USAGE", exitCode: 2 });
  expect(error.message).toContain(said);
  expect(error.message).not.toContain("geheim");
});
