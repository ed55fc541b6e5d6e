import { ExitCode, KmendError, messageOf } from "../../support/errors.ts";
import { openFolderStore } from "./folder-store.ts";
import type { Store } from "./store.ts";

/**
 * Opens a store: `s3://BUCKET/FOLDER`, or a folder.
 * @throws KmendError `S3_CLIENT_MISSING` (exit 5) where the client of buckets is not installed, and errors of the store.
 */
export async function openStore(place: string): Promise<Store> {
  if (!place.startsWith("s3://")) return openFolderStore(place);
  const { openS3Store } = await import("./s3-store.ts").catch((error: unknown) => {
    throw new KmendError({
      code: "S3_CLIENT_MISSING",
      message: "a store in a bucket needs the package @aws-sdk/client-s3",
      why: messageOf(error).split("\n")[0],
      hint: "npm install @aws-sdk/client-s3 where kmend is installed with npm; the self-contained executable takes a folder only",
      exitCode: ExitCode.environment,
    });
  });
  return openS3Store(place);
}
