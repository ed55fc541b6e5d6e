import { expect, test } from "vitest";
import { joinSymbols, Symvers } from "../../src/kernel/modules/symvers.ts";

test("columns since 5.7", () => {
  const symbols = new Symvers(
    "0xf7370f56\tsystem_state\tvmlinux\tEXPORT_SYMBOL\t\n" +
      "0xe4ae7508\t__twofish\tarch/x86/crypto/twofish-x86_64-3way\tEXPORT_SYMBOL_GPL\tCRYPTO_INTERNAL\n",
    "Module.symvers",
  );
  expect(symbols.size).toBe(2);
  expect(symbols.get("system_state")).toEqual({
    name: "system_state",
    crc: 0xf7370f56,
    owner: "vmlinux",
    namespace: "",
    exportType: "EXPORT_SYMBOL",
  });
  expect(symbols.get("__twofish")).toMatchObject({ owner: "twofish_x86_64_3way", namespace: "CRYPTO_INTERNAL" });
});

test("columns of 5.4 to 5.6, and before", () => {
  const symbols = new Symvers(
    "0x00000001\ta\tNAMESPACE\tdrivers/a-b\tEXPORT_SYMBOL\n0x00000002\tb\tvmlinux\tEXPORT_SYMBOL_GPL\n",
    "Module.symvers",
  );
  expect(symbols.get("a")).toMatchObject({ owner: "a_b", namespace: "NAMESPACE", exportType: "EXPORT_SYMBOL" });
  expect(symbols.get("b")).toMatchObject({ owner: "vmlinux", namespace: "", crc: 2 });
});

test("a damaged line is named", () => {
  const text = "0x00000001\ta\tvmlinux\tEXPORT_SYMBOL\t\n0x0000\tb\n";
  expect(() => new Symvers(text, "Module.symvers")).toThrow(
    expect.objectContaining({ code: "SYMVERS_DAMAGED", where: "Module.symvers:2" }),
  );
});

test.each([
  ["a short checksum", "0x0000001\ta\tvmlinux\tEXPORT_SYMBOL\t"],
  ["another digit", "0x0000000g\ta\tvmlinux\tEXPORT_SYMBOL\t"],
  ["no module", "0x00000001\ta\tEXPORT_SYMBOL"],
  ["no export type", "0x00000001\ta\tvmlinux\tSYMBOL\t"],
  ["spaces", "0x00000001 a vmlinux EXPORT_SYMBOL"],
  ["a line that was cut off", "0x00000001\ta"],
])("%s is damage, also in the last line and when the next one is whole", (_, line) => {
  const whole = "0x00000001\tb\tvmlinux\tEXPORT_SYMBOL\t\n";
  for (const text of [line, `${line}\n${whole}`]) {
    expect(() => new Symvers(text, "Module.symvers")).toThrow(
      expect.objectContaining({ code: "SYMVERS_DAMAGED", where: "Module.symvers:1" }),
    );
  }
});

test("the first of several tables that has a symbol counts", () => {
  const table = (crc: string): Symvers => new Symvers(`0x0000000${crc}\ta\tvmlinux\tEXPORT_SYMBOL\t`, "Module.symvers");
  expect(joinSymbols([table("1"), table("2")]).get("a")?.crc).toBe(1);
  expect(joinSymbols([new Map(), table("2")]).get("a")?.crc).toBe(2);
  expect(joinSymbols([table("1")]).get("b")).toBeUndefined();
});
