import type { EffectDecoder } from "./effects.ts";
import type { AddressUse, NumberLoad, OperandDecoder } from "./operands.ts";

/** Made from what the disassembler says of each instruction; Intel SDM volume 2, MOV. */
export function x86_64Operands(effects: EffectDecoder): OperandDecoder {
  return {
    parameters: effects.convention.parameters,
    scratch: effects.convention.clobbered,
    decode: (code) =>
      effects.decode(code).map(({ offset, length, flow, values, bases, sets, changes, displacement }) => {
        const copyOf = isCopy(code, offset, length) ? values[0] : undefined;
        const register = sets.length === 1 && values.length === 0 && bases.length === 0 ? sets[0] : undefined;
        const load = register === undefined ? undefined : loadAt(code, offset, length, register);
        const isMemory = displacement !== undefined && bases.length > 0;
        const touches = load === undefined ? [...values, ...bases, ...sets, ...changes] : [];
        const target = load === undefined && !isMemory ? register : undefined;
        const kept = target === undefined ? touches : touches.filter((each) => each !== target);
        return {
          offset,
          length,
          load,
          ...(copyOf === undefined ? { touches: kept, target } : { touches: [copyOf], target: sets[0] }),
          writes: [...sets, ...changes],
          flow: flowOf(flow),
          isConditional: flow.kind === "branch",
          addresses: { ...(copyOf === undefined ? {} : { copyOf }), ...goesOn(flow.kind) },
        };
      }),
  };
}

/** `mov %r64, %r64`: 89 /r or 8b /r with REX.W, between registers. */
function isCopy(code: Uint8Array, offset: number, length: number): boolean {
  const [rex, opcode, modrm] = [code[offset] ?? 0, code[offset + 1] ?? 0, code[offset + 2] ?? 0];
  return length === 3 && (rex & 0xf8) === 0x48 && (opcode === 0x89 || opcode === 0x8b) && modrm >= 0xc0;
}

function goesOn(kind: string): Pick<AddressUse, "goesOn"> {
  if (kind === "call" || kind === "indirect-call") return { goesOn: "call" };
  return kind === "branch" ? { goesOn: "branch" } : {};
}

function flowOf(flow: { readonly kind: string; readonly target?: number }): "next" | "end" | { jump: number } {
  if (flow.kind === "next") return "next";
  return flow.kind === "jump" && flow.target !== undefined ? { jump: flow.target } : "end";
}

/** `mov $imm32, %r32`, b8+r with at most a REX.B before it, and `mov $imm32, %r64`, REX.W c7 /0. */
function loadAt(code: Uint8Array, offset: number, length: number, register: number): NumberLoad | undefined {
  const at = offset + length - 4;
  const opcode = code[length === 6 ? offset + 1 : offset] ?? 0;
  const isShort = (length === 5 || (length === 6 && ((code[offset] ?? 0) & 0xfe) === 0x40)) && (opcode & 0xf8) === 0xb8;
  const isLong =
    length === 7 &&
    ((code[offset] ?? 0) & 0xfe) === 0x48 &&
    code[offset + 1] === 0xc7 &&
    ((code[offset + 2] ?? 0) & 0xf8) === 0xc0;
  if (!isShort && !isLong) return undefined;
  const value = new DataView(code.buffer, code.byteOffset, code.byteLength).getInt32(at, true);
  return { register, value, kind: isShort ? "mov r32" : "mov r64", parts: [offset] };
}
