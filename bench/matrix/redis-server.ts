import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Redis, type RedisOptions } from "ioredis";

/** A port of this machine that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** A Redis of a test or benchmark, on loopback, which keeps what it was told through kill -9. */
export class RedisServer {
  readonly folder = mkdtempSync(join(tmpdir(), "kmend-redis-"));
  readonly words: readonly string[];
  port = 0;
  #process: ChildProcess | undefined;

  constructor(...words: readonly string[]) {
    this.words = words;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Starts it, again on the same port. */
  async start(): Promise<this> {
    this.port ||= await freePort();
    const words = ["--port", String(this.port), "--bind", "127.0.0.1", "--dir", this.folder, "--save", ""];
    const process = spawn("redis-server", [...words, "--appendonly", "yes", "--appendfsync", "always", ...this.words], {
      stdio: "ignore",
    });
    this.#process = process;
    for (;;) {
      if (process.exitCode !== null) throw new Error(`redis-server ended with ${process.exitCode}`);
      const client = this.client({ retryStrategy: () => null, lazyConnect: true, enableReadyCheck: false });
      const said = await client.connect().then(
        () => client.ping().catch((error: Error) => error.message),
        () => "",
      );
      client.disconnect();
      if (said === "PONG" || /NOAUTH|NOPERM/.test(said)) return this;
      await delay(50);
    }
  }

  client(options: RedisOptions = {}): Redis {
    const client = new Redis({ host: "127.0.0.1", port: this.port, ...options });
    client.on("error", () => {});
    return client;
  }

  async kill(): Promise<void> {
    const ended = this.#process;
    if (ended === undefined || ended.exitCode !== null || ended.signalCode !== null) return;
    ended.kill("SIGKILL");
    await once(ended, "exit");
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
