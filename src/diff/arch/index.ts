import { KmendError } from "../../support/errors.ts";
import { aarch64 } from "./aarch64.ts";
import type { Architecture } from "./arch.ts";
import { loongarch64 } from "./loongarch64.ts";
import { ppc64 } from "./ppc64.ts";
import { s390x } from "./s390x.ts";
import { x86_64 } from "./x86-64.ts";

const architectures: readonly Architecture[] = [x86_64, aarch64, ppc64, s390x, loongarch64];

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
