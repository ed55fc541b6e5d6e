import type { Btf } from "../../kernel/types/btf.ts";
import { BtfKind } from "../../kernel/types/btf-format.ts";
import { wordOf } from "./same-types.ts";

/** Pointers, arrays and prototypes that one declaration shows inside of each other. */
const deepest = 12;

/** A declaration as C writes it: `struct page *pages[4]`, `int (*show)(struct seq_file *, void *)`. Unnamed structs appear as `struct {…}`. */
export function declaration(btf: Btf, type: number, name: string, depth = 0): string {
  if (depth > deepest) return `… ${name}`;
  const kind = btf.kind(type);
  switch (kind) {
    case BtfKind.ptr: {
      const target = btf.target(type);
      const pointee = btf.kind(target);
      const inner = pointee === BtfKind.array || pointee === BtfKind.funcProto ? `(*${name})` : `*${name}`;
      return declaration(btf, target, inner, depth + 1);
    }
    case BtfKind.array: {
      const { element, length } = btf.array(type);
      return declaration(btf, element, `${name}[${length}]`, depth + 1);
    }
    case BtfKind.funcProto: {
      const shown = btf
        .parameters(type)
        .map((parameter) => (parameter.type === 0 ? "..." : declaration(btf, parameter.type, "", depth + 1)));
      return declaration(
        btf,
        btf.target(type),
        `${name}(${shown.length === 0 ? "void" : shown.join(", ")})`,
        depth + 1,
      );
    }
    case BtfKind.const:
    case BtfKind.volatile:
    case BtfKind.restrict: {
      const word = kind === BtfKind.const ? "const" : kind === BtfKind.volatile ? "volatile" : "restrict";
      const target = btf.target(type);
      return btf.kind(target) === BtfKind.ptr
        ? declaration(btf, target, `${word} ${name}`.trimEnd(), depth + 1)
        : `${word} ${declaration(btf, target, name, depth + 1)}`;
    }
    case BtfKind.typeTag:
      return declaration(btf, btf.target(type), name, depth + 1);
    default:
      return `${typeName(btf, type)} ${name}`.trimEnd();
  }
}

/** A type's name with the word that C wants before it: `struct page`, `enum zone_type`, `u32`. */
export function typeName(btf: Btf, type: number): string {
  const word = wordOf(btf, type);
  const name = btf.name(type);
  if (word === "int") return asWritten(name);
  if (word !== "struct" && word !== "union" && word !== "enum") return name;
  return `${word} ${name === "" ? "{…}" : name}`;
}

/** Compilers call types `long unsigned int` that the kernel's source calls `unsigned long`. */
function asWritten(name: string): string {
  const words = name.split(" ");
  const sizes = words.filter((word) => word === "long" || word === "short");
  const sign = words.includes("unsigned") ? ["unsigned"] : [];
  return sizes.length === 0 ? name : [...sign, ...sizes].join(" ");
}
