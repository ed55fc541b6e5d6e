import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * An object of about `sections` sections: half of them functions, each with an fentry call, a call of the next one and a variable's address, half of them
 * their relocations. `version` changes one function.
 */
export function manySections(sections: number, version: number): Uint8Array {
  const count = Math.floor(sections / 2);
  const lines: string[] = [".extern __fentry__", ".bss", "state: .zero 8", ".type state, @object", ".size state, 8"];
  for (let number = 0; number < count; number++) {
    const value = number === count >> 1 ? version : number;
    lines.push(
      `.section .text.f${number},"ax",@progbits`,
      `.type f${number}, @function`,
      `f${number}: call __fentry__`,
      `movl $${value}, state(%rip)`,
      `call f${(number + 1) % count}`,
      "ret",
      `.size f${number}, .-f${number}`,
    );
  }
  const folder = mkdtempSync(join(tmpdir(), "kmend-bench-"));
  try {
    const path = join(folder, "many.o");
    execFileSync("as", ["-o", path, "-"], { input: `${lines.join("\n")}\n`, maxBuffer: 1 << 30 });
    return readFileSync(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
