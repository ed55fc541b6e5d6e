import { userInfo } from "node:os";
import { environmentVariable } from "../../support/environment.ts";
import { sanitiseLine } from "../../support/sanitise.ts";

/** The user who runs this, or who became root by sudo(8); undefined for one without a name. */
export function whoLoads(): string | undefined {
  const name = environmentVariable("SUDO_USER") ?? userName();
  return name === undefined ? undefined : sanitiseLine(name);
}

function userName(): string | undefined {
  try {
    return userInfo().username;
  } catch {
    return undefined;
  }
}
