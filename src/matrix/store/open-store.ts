import { openFolderStore } from "./folder-store.ts";
import type { Store } from "./store.ts";

/** Opens a store: `s3://BUCKET/FOLDER`, or a folder. */
export async function openStore(place: string): Promise<Store> {
  if (!place.startsWith("s3://")) return openFolderStore(place);
  const { openS3Store } = await import("./s3-store.ts");
  return openS3Store(place);
}
