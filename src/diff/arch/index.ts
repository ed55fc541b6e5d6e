import { KmendError } from "../../support/errors.ts";
import type { Architecture } from "./arch.ts";
import { x86_64 } from "./x86-64.ts";

const architectures: readonly Architecture[] = [x86_64];

/** The architecture of an e_machine value. @throws KmendError `ARCHITECTURE` for one that kmend does not know. */
export function architectureOf(machine: number): Architecture {
  const found = architectures.find((architecture) => architecture.machine === machine);
  if (found !== undefined) return found;
  throw new KmendError({
    code: "ARCHITECTURE",
    message: `objects of machine ${machine} are not supported`,
    hint: `supported: ${architectures.map(({ name }) => name).join(", ")}`,
  });
}
