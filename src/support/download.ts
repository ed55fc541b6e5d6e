import { readFile, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { exists, rethrowDiskErrors, temporaryBeside, writeFileAtomically } from "./cache.ts";
import { ExitCode, KmendError, messageOf } from "./errors.ts";
import { makeFolder } from "./make-folder.ts";
import { run } from "./run.ts";

/** What a download is asked to do. */
export interface DownloadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Seconds without a byte after which the server counts as gone; default 30. */
  readonly patience?: number | undefined;
  /** Largest file that is taken, in bytes; default 2 GiB. */
  readonly limit?: number | undefined;
}

/** `unchanged`: the server still has what `path` holds. */
export type DownloadOutcome = "new" | "unchanged";

/**
 * Fetches a file over HTTPS, and keeps its ETag beside it (`<path>.etag`): a file that did not change is not sent again (RFC 9110, 13.1.2), and one that
 * was cut off goes on where it stopped, if the server still has the same (13.1.5). Plain HTTP is for servers of this machine.
 * curl does it, which knows the proxies and certificates that the machine is set up with.
 * @throws KmendError `DOWNLOAD_URL` (exit 2), `DOWNLOAD_FAILED` (exit 5) with what the server or curl said.
 */
export async function download(url: string, path: string, options: DownloadOptions = {}): Promise<DownloadOutcome> {
  requireSafe(url);
  await makeFolder(dirname(path)).catch(rethrowDiskErrors);
  const [known, part] = [`${path}.etag`, `${path}.part`];
  const etag = await readText(known);
  const isThere = (await sizeOf(path)) > 0;
  const partEtag = await readText(`${part}.etag`);
  const partSize = await sizeOf(part);
  const goesOn = partEtag !== undefined && partSize > 0;
  const asked = [
    ...(isThere && etag !== undefined ? [`If-None-Match: ${etag}`] : []),
    ...(goesOn ? [`Range: bytes=${partSize}-`, `If-Range: ${partEtag}`] : []),
  ];
  const answer = await transfer(url, asked, options);
  try {
    if (answer.status === 304 && isThere) return "unchanged";
    if (answer.status === 206 && goesOn) await append(part, answer.body);
    else if (answer.status === 416 && goesOn) {
      // What is there is not the beginning of what the server has.
      await Promise.all([rm(part, { force: true }), rm(`${part}.etag`, { force: true })]);
      return download(url, path, options);
    } else if (answer.status === 200) await rename(answer.body, part).catch(rethrowDiskErrors);
    else throw failed(url, `the server answered ${answer.status}`, statusHint(answer.status));
    if (answer.etag === undefined) await rm(`${part}.etag`, { force: true });
    else await writeFileAtomically(`${part}.etag`, answer.etag);
    if (answer.failure !== undefined) throw failed(url, answer.failure, "start it again: it goes on where it stopped");
    await rename(part, path).catch(rethrowDiskErrors);
    await rm(`${part}.etag`, { force: true });
    if (answer.etag === undefined) await rm(known, { force: true });
    else await writeFileAtomically(known, answer.etag);
    return "new";
  } finally {
    await rm(answer.body, { force: true });
  }

  async function transfer(from: string, headers: readonly string[], how: DownloadOptions): Promise<Answer> {
    const body = temporaryBeside(path);
    const head = temporaryBeside(path);
    const { patience = 30, limit = 2 ** 31, signal } = how;
    const protocol = isOwn(new URL(from)) ? "=http,https" : "=https";
    const words = [
      ...[
        "--silent",
        "--show-error",
        "--location",
        "--max-redirs",
        "5",
        "--proto",
        protocol,
        "--proto-redir",
        protocol,
      ],
      ...["--connect-timeout", String(patience), "--speed-time", String(patience), "--speed-limit", "1"],
      ...["--max-filesize", String(limit), "--user-agent", "kmend", "--dump-header", head, "--output", body],
      ...headers.flatMap((header) => ["--header", header]),
      ...["--", from],
    ];
    try {
      const { exitCode, stderr } = await run("curl", words, { allowFailure: true, signal });
      signal?.throwIfAborted();
      const last = lastHeaders(await readFile(head, "latin1").catch(() => ""));
      const isBegun = last.status >= 200 && last.status <= 206 && (await exists(body));
      if (exitCode !== 0 && !isBegun) throw failed(from, stderr.trim(), networkHint);
      // curl says so too when the server ends early; what came is kept.
      return { ...last, body, failure: exitCode === 0 ? undefined : stderr.trim() };
    } finally {
      await rm(head, { force: true });
    }
  }
}

interface Answer {
  readonly status: number;
  readonly etag: string | undefined;
  readonly body: string;
  /** Why the answer is not whole. */
  readonly failure: string | undefined;
}

/** Status and ETag of the last of the answers that redirections led to. */
function lastHeaders(text: string): Pick<Answer, "status" | "etag"> {
  const blocks = text.split(/\r?\n\r?\n/).filter((block) => /^HTTP\//.test(block));
  const block = blocks.at(-1) ?? "";
  const etag = /^etag: *(\S.*?)\r?$/im.exec(block)?.[1];
  return {
    status: Number(/^HTTP\/\S+ (\d{3})/.exec(block)?.[1] ?? 0),
    // A weak one does not say that the bytes are the same.
    etag: etag?.startsWith("W/") === true ? undefined : etag,
  };
}

/** @throws KmendError `DOWNLOAD_URL` */
function requireSafe(url: string): void {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch (error) {
    throw wrongUrl(url, messageOf(error), error);
  }
  if (parsed.protocol === "https:" || (parsed.protocol === "http:" && isOwn(parsed))) return;
  throw wrongUrl(url, "what is fetched decides which code a kernel runs, and only HTTPS says whose it is");
}

function wrongUrl(url: string, why: string, cause?: unknown): KmendError {
  return new KmendError({
    code: "DOWNLOAD_URL",
    message: `${url} cannot be fetched`,
    why,
    hint: "give an address that begins with https://",
    exitCode: ExitCode.usage,
    cause,
  });
}

/** True for a server on this machine. */
function isOwn({ hostname }: URL): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(hostname);
}

const networkHint = "see whether this machine reaches the server (curl --head shows it; https_proxy names a proxy)";

function statusHint(status: number): string {
  if (status === 404 || status === 410) return "check the address: the server has no such file";
  if (status === 401 || status === 403 || status === 407)
    return "the server, or a proxy before it, wants to know who asks";
  return status >= 500 ? "try again later" : networkHint;
}

function failed(url: string, why: string, hint: string): KmendError {
  return new KmendError({
    code: "DOWNLOAD_FAILED",
    message: `${url} could not be fetched`,
    why,
    hint,
    exitCode: ExitCode.environment,
  });
}

async function append(part: string, more: string): Promise<void> {
  const { createReadStream, createWriteStream } = await import("node:fs");
  const { pipeline } = await import("node:stream/promises");
  await pipeline(createReadStream(more), createWriteStream(part, { flags: "a" })).catch(rethrowDiskErrors);
}

async function readText(path: string): Promise<string | undefined> {
  return (await readFile(path, "utf8").catch(() => undefined))?.trim();
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}
