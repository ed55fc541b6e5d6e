import type { DataFlow } from "./data-flow.ts";

const registerNames = ["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI"];

/**
 * What an x86-64 `cmp` compares, or a `sub` (the index of an element is the distance from the beginning of its table): with a number, or the registers that
 * hold what is compared (Intel SDM, volume 2, CMP and SUB); undefined for other instructions.
 */
export function x86_64Compared(bytes: Uint8Array): ReturnType<DataFlow["compared"]> {
  let at = 0;
  while ([0x66, 0x65, 0x64, 0x2e].includes(bytes[at] ?? 0)) at++;
  const rex = (bytes[at] ?? 0) >> 4 === 4 ? (bytes[at++] as number) : 0;
  const opcode = bytes[at];
  const modrm = bytes[at + 1] ?? 0;
  if (opcode === 0x3d || opcode === 0x2d || (opcode === 0x81 && [5, 7].includes((modrm >> 3) & 7))) return "number";
  if (![0x39, 0x3b, 0x29, 0x2b].includes(opcode ?? 0)) return undefined;
  const registers = [((modrm >> 3) & 7) | ((rex & 4) << 1)];
  if (modrm >> 6 === 3) registers.push((modrm & 7) | ((rex & 1) << 3));
  return registers.map((number) => registerNames[number] ?? `R${number}`);
}
