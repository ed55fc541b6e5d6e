import { SectionFlag } from "../elf/constants.ts";
import type { ElfReader } from "../elf/reader.ts";
import { ExitCode, KmendError } from "../support/errors.ts";

/** First bytes of LLVM bitcode, bare and in the wrapper that Darwin introduced (LLVM: BitstreamReader, "Magic Numbers" and "Bitcode Wrapper"). */
const bitcodeMagics: readonly number[] = [0xdec04342, 0x0b17c0de];

/** @throws KmendError `NO_MACHINE_CODE` for a file of LLVM bitcode, which is not even ELF. */
export function refuseBitcode(file: Uint8Array): void {
  if (file.length < 4) return;
  const magic = new DataView(file.buffer, file.byteOffset, 4).getUint32(0, true);
  if (bitcodeMagics.includes(magic)) throw withoutMachineCode("LLVM bitcode");
}

/**
 * A slim object of gcc's LTO has GIMPLE in `.gnu.lto_*` sections and the symbol `__gnu_lto_slim` (gcc: lto-streamer-out.cc); fat ones have code as well.
 * clang leaves bitcode in `.llvmbc` or `.llvm.lto`.
 * @throws KmendError `NO_MACHINE_CODE` for an object whose code is still to be made by the linker.
 */
export function requireMachineCode(elf: ElfReader): void {
  const isSlim = elf.symbols.some(({ name }) => name === "__gnu_lto_slim");
  if (isSlim) throw withoutMachineCode("gcc's intermediate language (slim LTO)");
  const isIntermediate = elf.sections.some(({ name }) => /^\.(gnu\.lto_|llvmbc$|llvm\.lto$)/.test(name));
  if (!isIntermediate) return;
  const hasContent = elf.sections.some(({ flags, size }) => size > 0 && (flags & SectionFlag.alloc) !== 0);
  if (!hasContent) throw withoutMachineCode("a compiler's intermediate language (LTO)");
}

function withoutMachineCode(content: string): KmendError {
  return new KmendError({
    code: "NO_MACHINE_CODE",
    message: `this object has no machine code, but ${content}`,
    why: "with link time optimisation the linker generates the code of all units together: no unit has functions that could be compared or matched with the kernel",
    hint: "a kernel with CONFIG_LTO cannot be patched by kmend; give objects that are compiled without -flto",
    exitCode: ExitCode.refused,
  });
}
