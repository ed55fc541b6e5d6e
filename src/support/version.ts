import { packageResource } from "./own-files.ts";

let known: string | undefined;

/** The version in kmend's package.json. */
export function version(): string {
  known ??= (JSON.parse(packageResource("package.json").toString("utf8")) as { version: string }).version;
  return known;
}
