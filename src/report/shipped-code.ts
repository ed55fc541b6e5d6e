import type { AlignedInstruction } from "../build/explain/explain.ts";
import type { Architecture } from "../diff/arch/arch.ts";
import { baseName } from "../diff/names.ts";
import type { TargetObject } from "../match/target-object.ts";

/** Bytes of a text that is looked for at an address. */
const longestText = 256;

/**
 * The instructions of a function as the kernel's file has them, with the names of what they lead to as its symbol table tells. Undefined where kmend has no
 * disassembler, or the file no code there.
 */
export function shippedCode(
  target: TargetObject,
  address: number,
  bytes: number,
  arch: Architecture,
): AlignedInstruction[] | undefined {
  const code = target.bytesAt(address, bytes);
  const instructions = code === undefined ? undefined : arch.text?.(code);
  return instructions?.map(({ offset, text, target: to }) => {
    const isInside = to !== undefined && to >= 0 && to < bytes;
    const named = isInside ? undefined : nameIn(text, to, target, address);
    const shown = named === undefined ? text : text.replace(named.place, to === undefined ? "" : named.name);
    return {
      shown: {
        offset,
        text: to === undefined ? text : shown,
        symbols: named === undefined || to !== undefined ? [] : [named.name],
        line: null,
      },
      place: offset,
      key: isInside ? text.replace(/(0x)?[0-9a-f]+$/, "") : named === undefined ? text : `${shown} ${named.name}`,
      jump: isInside ? to : null,
    };
  });
}

interface Named {
  /** Where the text has the number. */
  readonly place: RegExp;
  readonly name: string;
}

function nameIn(text: string, to: number | undefined, target: TargetObject, start: number): Named | undefined {
  if (to !== undefined) return nameAt(target, start + to, /(0x)?[0-9a-f]+$/);
  const relative = /(-?)0x([0-9a-f]+)\(%rip\)/.exec(text);
  if (relative !== null) {
    const distance = Number(BigInt.asIntN(64, BigInt(`0x${relative[2]}`))) * (relative[1] === "-" ? -1 : 1);
    return nameAt(target, start + distance, /-?0x[0-9a-f]+(?=\(%rip\))/);
  }
  const number = /\$0x(ffffffff[0-9a-f]{8})\b/.exec(text);
  if (number === null) return undefined;
  return nameAt(target, Number(BigInt.asIntN(64, BigInt(`0x${number[1]}`))), /\$0x[0-9a-f]+/);
}

function nameAt(target: TargetObject, address: number, place: RegExp): Named | undefined {
  const [symbol] = target.symbolsAt(address);
  if (symbol !== undefined) return { place, name: baseName(symbol.name) };
  for (let length = longestText; length >= 4; length /= 2) {
    const bytes = target.bytesAt(address, length);
    const end = bytes?.indexOf(0) ?? -1;
    if (bytes === undefined || end < 1) continue;
    const text = Buffer.from(bytes.subarray(0, end)).toString("latin1");
    return isText(bytes.subarray(0, end)) ? { place, name: JSON.stringify(text) } : undefined;
  }
  return undefined;
}

/** Printable ASCII, with the mark of a log level (KERN_SOH of include/linux/kern_levels.h) and line feeds. */
function isText(bytes: Uint8Array): boolean {
  return bytes.every((byte) => (byte >= 0x20 && byte < 0x7f) || byte === 1 || byte === 9 || byte === 10 || byte === 13);
}
