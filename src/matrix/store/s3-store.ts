import { randomUUID } from "node:crypto";
import {
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
  S3ServiceException,
} from "@aws-sdk/client-s3";
import { ExitCode, KmendError, messageOf } from "../../support/errors.ts";
import { type Store, storeMark } from "./store.ts";

/** A bucket, and a folder in it. */
interface S3Place {
  readonly bucket: string;
  /** Empty, or ends in `/`. */
  readonly prefix: string;
}

/** @throws KmendError `USAGE` (exit 2) */
function placeOf(url: string): S3Place {
  const found = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/([A-Za-z0-9._/-]*))?$/.exec(url);
  if (found !== null) {
    const path = (found[2] ?? "").replace(/^\/+|\/+$/g, "");
    return { bucket: found[1] as string, prefix: path === "" ? "" : `${path}/` };
  }
  throw new KmendError({
    code: "USAGE",
    message: `${url} is not the address of a bucket`,
    hint: "it looks like s3://BUCKET/FOLDER",
    exitCode: ExitCode.usage,
  });
}

/**
 * Opens a store in an S3-compatible bucket. Whoever is first makes a name: the bucket has to know conditional writes (`If-None-Match: *`), which is tried. Region, endpoint and
 * credentials are found as by every program of AWS.
 * @throws KmendError `USAGE` (exit 2), `STORE_NOT_EMPTY`, `STORE_DAMAGED`, `STORE_UNREACHABLE`, `STORE_UNCONDITIONAL` (exit 5)
 */
export async function openS3Store(url: string, config: S3ClientConfig = {}): Promise<Store> {
  const { bucket, prefix } = placeOf(url);
  const client = new S3Client({ maxAttempts: 5, ...config });
  const key = (name: string): string => `${prefix}${name}`;
  const read = async (name: string): Promise<Uint8Array | undefined> => {
    try {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key(name) }));
      return await Body?.transformToByteArray();
    } catch (error) {
      if (error instanceof S3ServiceException && error.name === "NoSuchKey") return undefined;
      throw unreachable(url, error);
    }
  };
  const put = async (name: string, content: Uint8Array): Promise<boolean> => {
    try {
      await client.send(new PutObjectCommand({ Bucket: bucket, Key: key(name), Body: content, IfNoneMatch: "*" }));
      return true;
    } catch (error) {
      // 412: it is there. 409: somebody makes it at this moment.
      const status = error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
      if (status === 412 || status === 409) return false;
      throw unreachable(url, error);
    }
  };
  const create = async (name: string, content: Uint8Array): Promise<"created" | "same" | "other"> => {
    const there = await read(name);
    if (there !== undefined) return same(there, content);
    if (await put(name, content)) return "created";
    const other = await read(name);
    // It was made and is not seen yet: the next attempt sees it.
    if (other === undefined) throw unreachable(url, new Error(`${name} is being written by another`));
    return same(other, content);
  };
  const list = async (below: string, most?: number): Promise<string[]> => {
    const names: string[] = [];
    let token: string | undefined;
    do {
      const page = await client
        .send(
          new ListObjectsV2Command({
            ...{ Bucket: bucket, Prefix: key(below) },
            ...(token === undefined ? {} : { ContinuationToken: token }),
            ...(most === undefined ? {} : { MaxKeys: most }),
          }),
        )
        .catch((error: unknown) => {
          throw unreachable(url, error);
        });
      names.push(...(page.Contents ?? []).map(({ Key = "" }) => Key.slice(prefix.length)));
      token = most === undefined ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
    return names.sort();
  };
  const id = await idOf({ url, read, put, list });
  return { id, place: url, read, create, list: (below) => list(below) };
}

function same(there: Uint8Array, content: Uint8Array): "same" | "other" {
  return Buffer.from(there).equals(content) ? "same" : "other";
}

interface Access {
  readonly url: string;
  readonly read: Store["read"];
  readonly put: (name: string, content: Uint8Array) => Promise<boolean>;
  readonly list: (prefix: string, most?: number) => Promise<string[]>;
}

/** The id of the store, which is made where there is none. */
async function idOf({ url, read, put, list }: Access): Promise<string> {
  if ((await read(storeMark)) === undefined) {
    const others = await list("", 3);
    if (others.length > 0 && !others.includes(storeMark)) {
      throw new KmendError({
        code: "STORE_NOT_EMPTY",
        message: `${url} holds something else than a store`,
        why: `it has ${others.join(", ")}, and no ${storeMark}`,
        hint: "choose an empty folder of the bucket: s3://BUCKET/FOLDER",
        exitCode: ExitCode.usage,
      });
    }
    await put(storeMark, Buffer.from(`${JSON.stringify({ schema: 1, id: randomUUID() })}\n`));
  }
  const mark = (await read(storeMark)) ?? new Uint8Array();
  if (await put(storeMark, mark)) {
    throw new KmendError({
      code: "STORE_UNCONDITIONAL",
      message: `${url} replaces what is there`,
      why: "two workers could make the same result; the bucket has to know If-None-Match",
      hint: "use another S3 server, or a folder",
      exitCode: ExitCode.environment,
    });
  }
  const id = /"id":"([^"]+)"/.exec(Buffer.from(mark).toString("utf8"))?.[1];
  if (id !== undefined) return id;
  throw new KmendError({
    code: "STORE_DAMAGED",
    message: `${storeMark} in ${url} is not the mark of a store`,
    hint: "choose another folder of the bucket",
    exitCode: ExitCode.usage,
  });
}

function unreachable(url: string, error: unknown): KmendError {
  if (error instanceof KmendError) return error;
  return new KmendError({
    code: "STORE_UNREACHABLE",
    message: `the store ${url} cannot be used`,
    why: messageOf(error),
    hint: "see to the bucket, and to AWS_ENDPOINT_URL, AWS_REGION and the credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID)",
    exitCode: ExitCode.environment,
    cause: error,
  });
}
