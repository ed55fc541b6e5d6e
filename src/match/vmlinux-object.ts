import { architectureOf } from "../diff/arch/index.ts";
import type { TableRule } from "../diff/special-sections/special-sections.ts";
import { SectionFlag, SectionType } from "../elf/constants.ts";
import { InitMemory } from "../kernel/image/init-memory.ts";
import { compareAddresses } from "../kernel/image/kallsyms.ts";
import { bindingOf } from "../kernel/image/kallsyms-binding.ts";
import type { KernelImage } from "../kernel/image/kernel-image.ts";
import { type FunctionUses, holdsNumber, linkedUses, tablesOfCode } from "./function-uses.ts";
import { LinkedTables } from "./linked-tables.ts";
import {
  type PlaceValue,
  readSigned,
  type TargetEntry,
  type TargetObject,
  type TargetSymbol,
} from "./target-object.ts";
import { type Accesses, accessesOf, type CodeAt } from "./variable-accesses.ts";

/** The kernel image as something to match against. It is linked, so places hold final addresses. */
export class VmlinuxObject implements TargetObject {
  readonly name = "vmlinux";
  readonly source: string;
  readonly #image: KernelImage;
  #initMemory: InitMemory | undefined;
  readonly #tables: LinkedTables;

  constructor(image: KernelImage, source: string) {
    this.#image = image;
    this.source = source;
    this.#tables = new LinkedTables({
      addressOf: (name) => {
        const [index] = image.kallsyms().indicesOf(name);
        return index === undefined ? undefined : image.kallsyms().addressOf(index);
      },
      sections: image.loaded,
      bytesAt: (address, length) => image.bytesAt(address, length),
    });
  }

  symbolsNamed(name: string): readonly TargetSymbol[] {
    const kallsyms = this.#image.kallsyms();
    const indices = kallsyms.indicesOf(name);
    // kallsyms is in address order, which is how kallsyms_on_each_symbol() counts for vmlinux (kernel/livepatch/core.c, 6.1 and 6.12).
    return indices.map((index, at) => ({
      name,
      address: kallsyms.addressOf(index),
      sympos: indices.length === 1 ? 0 : at + 1,
      binding: bindingOf(kallsyms, index),
    }));
  }

  symbolsAt(address: number): readonly TargetSymbol[] {
    const kallsyms = this.#image.kallsyms();
    return kallsyms
      .symbolsAt(address)
      .flatMap((index) => this.symbolsNamed(kallsyms.nameOf(index)).filter((symbol) => symbol.address === address));
  }

  roomAt(address: number): number | undefined {
    const index = this.#image.kallsyms().symbolsAt(address)[0];
    return index === undefined ? undefined : this.#image.kallsyms().sizeOf(index);
  }

  accessesOf(address: number): Accesses | undefined {
    const read = architectureOf(this.#image.machine).dataFlow?.read;
    if (read === undefined) return undefined;
    const isCode = ({ flags }: { readonly flags: number }): boolean => (flags & SectionFlag.execinstr) !== 0;
    const sections = this.#image.loaded.filter(isCode).map((section) => ({
      address: section.address,
      bytes: this.#image.contentOf(section),
    }));
    return accessesOf(address, sections, (place) => this.#codeAround(place), read);
  }

  usesOfFunction(address: number): FunctionUses | undefined {
    if (architectureOf(this.#image.machine).name !== "x86_64") return undefined;
    const pieces = this.#image.loaded
      .filter(({ name }) => !tablesOfCode.has(name))
      .map((section) => ({
        ...{ name: section.name, address: section.address, bytes: this.#image.contentOf(section) },
        isCode: (section.flags & SectionFlag.execinstr) !== 0,
      }));
    const traced = this.#range("__start_mcount_loc", "__stop_mcount_loc");
    const init = this.#range("_sinittext", "_einittext");
    const { calls, others } = linkedUses(address, pieces, traced);
    // Init code has run.
    return { calls: calls.filter((at) => !init(at)), others };
  }

  #range(start: string, end: string): (address: number) => boolean {
    const [from, to] = [start, end].map((name) => this.symbolsNamed(name)[0]?.address);
    if (from === undefined || to === undefined) return () => false;
    return (address) => compareAddresses(address, from) >= 0 && compareAddresses(address, to) < 0;
  }

  namesTypes(numbers: ReadonlySet<number>): boolean {
    return this.#image.sections.some(
      (section) => section.name === ".BTF_ids" && holdsNumber(this.#image.contentOf(section), numbers),
    );
  }

  functionAt(address: number): number | undefined {
    const index = this.#image.kallsyms().containing(address);
    return index === undefined ? undefined : this.#image.kallsyms().addressOf(index);
  }

  #codeAround(place: number): CodeAt | undefined {
    const kallsyms = this.#image.kallsyms();
    const index = kallsyms.firstAbove(place) - 1;
    if (index < 0) return undefined;
    const address = kallsyms.addressOf(index);
    const bytes = this.bytesAt(address, kallsyms.sizeOf(index));
    return bytes === undefined ? undefined : { address, bytes };
  }

  goneAt(address: number, name: string): string | undefined {
    this.#initMemory ??= new InitMemory(this.#image);
    return this.#initMemory.at(address, name);
  }

  *namesBetween(from: number, to: number): Iterable<string> {
    const kallsyms = this.#image.kallsyms();
    for (let index = kallsyms.firstAbove(from); index < kallsyms.count; index++) {
      if (compareAddresses(kallsyms.addressOf(index), to) >= 0) return;
      yield kallsyms.nameOf(index);
    }
  }

  bytesAt(address: number, length: number): Uint8Array | undefined {
    return this.#image.bytesAt(address, length);
  }

  valueAt(address: number, width: number, pcRelative: boolean): PlaceValue | undefined {
    const bytes = this.#image.bytesAt(address, width);
    if (bytes === undefined) return undefined;
    const value = readSigned(bytes);
    return { kind: "address", address: pcRelative ? address + value : value };
  }

  isZeroAt(address: number, length: number): boolean {
    return this.#image.sections.some(
      (section) =>
        section.type === SectionType.nobits &&
        address >= section.address &&
        address + length <= section.address + section.size,
    );
  }

  sectionAt(address: number): string | undefined {
    return this.#image.sections.find(
      (section) =>
        (section.flags & SectionFlag.alloc) !== 0 &&
        address >= section.address &&
        address < section.address + section.size,
    )?.name;
  }

  tableEntries(
    rule: TableRule,
    size: number | undefined,
    from: number,
    to: number,
  ): readonly TargetEntry[] | undefined {
    return this.#tables.entries(rule, size, from, to);
  }

  runtimeTables(): readonly string[] {
    return this.#tables.runtimeTables;
  }
}
