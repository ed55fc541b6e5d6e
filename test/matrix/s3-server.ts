import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { escape as escaped } from "node:querystring";

/** As much of S3 as a store uses: get, conditional put, list; on loopback, in memory. */
export class S3Server {
  readonly objects = new Map<string, Buffer>();
  /** False replaces what is there, as old servers do. */
  isConditional = true;
  /** So many requests are answered with 503 first. */
  failing = 0;
  readonly #server: Server = createServer((request, response) => void this.#answer(request, response));

  async start(): Promise<this> {
    await new Promise<void>((listening) => this.#server.listen(0, "127.0.0.1", listening));
    return this;
  }

  get config() {
    const { port } = this.#server.address() as AddressInfo;
    return {
      ...{ endpoint: `http://127.0.0.1:${port}`, region: "eu", forcePathStyle: true },
      credentials: { accessKeyId: "a", secretAccessKey: "b" },
    };
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const error = (status: number, code: string): void => {
      response.writeHead(status, { "content-type": "application/xml" });
      response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`);
    };
    if (this.failing > 0) {
      this.failing--;
      return error(503, "SlowDown");
    }
    const url = new URL(request.url ?? "", "http://s3");
    const [, bucket, ...parts] = decodeURIComponent(url.pathname).split("/");
    if (bucket !== "bucket") return error(404, "NoSuchBucket");
    const key = parts.join("/");
    if (request.method === "GET" && key === "") return this.#list(url.searchParams, response);
    if (request.method === "GET") {
      const found = this.objects.get(key);
      if (found === undefined) return error(404, "NoSuchKey");
      response.end(found);
      return;
    }
    if (this.isConditional && request.headers["if-none-match"] === "*" && this.objects.has(key))
      return error(412, "PreconditionFailed");
    this.objects.set(key, bodyOf(request, Buffer.concat(pieces)));
    response.end();
  }

  /** Two names to a page, so that pages follow each other. */
  #list(query: URLSearchParams, response: ServerResponse): void {
    const names = [...this.objects.keys()].filter((name) => name.startsWith(query.get("prefix") ?? "")).sort();
    const from = Number(query.get("continuation-token") ?? 0);
    const shown = names.slice(from, from + 2).map((name) => `<Contents><Key>${escaped(name)}</Key></Contents>`);
    const more = from + 2 < names.length;
    const next = more ? `<NextContinuationToken>${from + 2}</NextContinuationToken>` : "";
    response.writeHead(200, { "content-type": "application/xml" });
    response.end(
      `<ListBucketResult><IsTruncated>${more}</IsTruncated>${shown.join("")}${next}</ListBucketResult>`.replaceAll(
        "%2F",
        "/",
      ),
    );
  }
}

/** The client may send the body in signed pieces with a checksum behind (aws-chunked). */
function bodyOf({ headers }: IncomingMessage, body: Buffer): Buffer {
  if (!String(headers["content-encoding"] ?? "").includes("aws-chunked")) return body;
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const end = body.indexOf("\r\n", at);
    const size = Number.parseInt(body.subarray(at, end).toString("latin1"), 16);
    if (!(size > 0)) return Buffer.concat(parts);
    parts.push(body.subarray(end + 2, end + 2 + size));
    at = end + 2 + size + 2;
  }
}
