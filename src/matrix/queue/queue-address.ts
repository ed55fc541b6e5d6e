import { readFile } from "node:fs/promises";
import { takeSecret } from "../../support/environment.ts";
import { ExitCode, KmendError, messageOf } from "../../support/errors.ts";

/** Where the queue is, and who asks. */
export interface QueueAddress {
  readonly host: string;
  readonly port: number;
  readonly database: number;
  readonly user: string | undefined;
  readonly password: string | undefined;
  /** Certificates of whom to trust, for `rediss:`; `system` are those of the system. */
  readonly tls: { readonly ca: string | "system" } | undefined;
}

/** What the command line says about it. */
export interface QueueOptions {
  readonly url: string;
  /** File with the certificate of an authority. */
  readonly ca?: string | undefined;
  /** File whose first line is the password. */
  readonly passwordFile?: string | undefined;
}

function usage(message: string, hint: string): KmendError {
  return new KmendError({ code: "USAGE", message, hint, exitCode: ExitCode.usage });
}

/**
 * Reads the address of a queue. A password comes from a file or from KMEND_QUEUE_PASSWORD, since everybody on a machine sees the words of its processes.
 * @throws KmendError `USAGE` (exit 2), without the password in it.
 */
export async function queueAddress({ url: text, ca, passwordFile }: QueueOptions): Promise<QueueAddress> {
  const example = "it looks like redis://USER@HOST:6379/0, or rediss:// for TLS";
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== "redis:" && url.protocol !== "rediss:") || url.hostname === "")
    throw usage("--queue is not the address of a Redis", example);
  if (url.password !== "") {
    throw usage(
      "the address of the queue has a password in it",
      "everybody on this machine sees it in the list of processes: leave it out, and give --queue-password-file FILE or set KMEND_QUEUE_PASSWORD; change the password",
    );
  }
  const database = /^\/?(\d{1,4})?$/.exec(url.pathname);
  if (database === null || url.search !== "" || url.hash !== "")
    throw usage(`--queue has something after its host that is no number of a database: ${url.pathname}`, example);
  const isTls = url.protocol === "rediss:";
  if (ca !== undefined && !isTls) throw usage("--queue-ca needs an address that begins with rediss:", example);
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: url.port === "" ? 6379 : Number(url.port),
    database: Number(database[1] ?? 0),
    user: url.username === "" ? undefined : decodeURIComponent(url.username),
    password: await passwordOf(passwordFile),
    tls: isTls ? { ca: ca === undefined ? "system" : await textOf(ca, "--queue-ca") } : undefined,
  };
}

async function passwordOf(file: string | undefined): Promise<string | undefined> {
  const given = takeSecret("KMEND_QUEUE_PASSWORD");
  if (file === undefined) return given;
  const [first = ""] = (await textOf(file, "--queue-password-file")).split(/\r?\n/);
  if (first === "") throw usage(`${file} has no password in its first line`, "write it there, and nothing else");
  return first;
}

async function textOf(file: string, option: string): Promise<string> {
  return readFile(file, "utf8").catch((error: unknown) => {
    throw usage(`the file of ${option} cannot be read: ${messageOf(error)}`, `give ${option} another file`);
  });
}

/** The address for messages, without who asks. */
export function shownAddress({ host, port, database, tls }: QueueAddress): string {
  const name = host.includes(":") ? `[${host}]` : host;
  return `${tls === undefined ? "redis" : "rediss"}://${name}:${port}/${database}`;
}
