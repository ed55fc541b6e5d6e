import { packageFolder } from "./package-folder.ts";

/** The version in kmend's package.json. */
export function version(): string {
  return packageFolder().version;
}
