import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { ExitCode, KmendError, messageOf } from "../../support/errors.ts";

/** What is sent for a path. */
export interface Answer {
  readonly type: string;
  readonly body: string | Uint8Array;
  readonly status?: number | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** A server that runs. */
export interface Served {
  /** With the port that was chosen for port 0. */
  readonly url: string;
  close(): Promise<void>;
}

/** Answers a request; undefined is 404. */
export type Handler = (request: IncomingMessage, body: string) => Promise<Answer | undefined>;

/** Longest body of a request, in bytes. */
const longestBody = 4096;

/** Serves texts by their path. @throws KmendError `USAGE`, `ADDRESS` */
export function serveText(address: string, texts: Readonly<Record<string, () => Answer>>): Promise<Served> {
  return serve(address, async ({ method, url }) => (method === "GET" ? texts[url ?? ""]?.() : undefined));
}

/**
 * Serves on `HOST:PORT`; port 0 takes a free one.
 * @throws KmendError `USAGE` (exit 2) for something else, `ADDRESS` (exit 5) when it cannot be listened on.
 */
export async function serve(address: string, handler: Handler): Promise<Served> {
  const parts = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(address);
  const host = parts?.[1] ?? parts?.[2];
  const port = Number(parts?.[3]);
  if (host === undefined || port > 65535) {
    throw new KmendError({
      code: "USAGE",
      message: `${address} is not an address to serve on`,
      hint: "it looks like localhost:PORT or [::1]:PORT",
      exitCode: ExitCode.usage,
    });
  }
  const server = createServer((request, response) => {
    void answer(handler, request, response).catch(() => response.destroy());
  });
  await listening(server, host, port, address);
  const { port: chosen } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${chosen}/`,
    close: () =>
      new Promise((closed) => {
        server.close(() => closed());
        server.closeAllConnections();
      }),
  };
}

async function listening(server: Server, host: string, port: number, address: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  }).catch((error: unknown) => {
    throw new KmendError({
      code: "ADDRESS",
      message: `cannot serve on ${address}: ${messageOf(error)}`,
      hint: "choose another address or port; port 0 takes a free one",
      exitCode: ExitCode.environment,
      cause: error,
    });
  });
}

async function answer(handler: Handler, request: IncomingMessage, response: ServerResponse): Promise<void> {
  let body = "";
  for await (const piece of request) {
    body += String(piece);
    if (body.length > longestBody) {
      response.writeHead(413).end();
      return;
    }
  }
  const found = (await handler(request, body)) ?? { status: 404, type: "text/plain", body: "not found\n" };
  response.writeHead(found.status ?? 200, {
    "content-type": found.type,
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    ...found.headers,
  });
  response.end(found.body);
}
