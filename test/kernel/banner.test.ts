import { describe, expect, test } from "vitest";
import { parseBanner } from "../../src/kernel/image/banner.ts";
import { banner } from "./tiny-kernel.ts";

describe("parseBanner", () => {
  test("a Debian kernel", () => {
    expect(parseBanner(banner)).toEqual({
      text: banner,
      release: "6.1.0-9-amd64",
      builder: "kernel@example.org",
      compiler: "gcc-12 (Debian 12.2.0-9) 12.2.0",
      linker: "GNU ld (GNU Binutils for Debian) 2.40",
      version: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.9-1 (2024-01-31)",
    });
  });

  test("before 5.8 the linker is not named", () => {
    const old =
      "Linux version 4.9.0-3-amd64 (a@b) (gcc version 6.3.0 20170516 (Debian 6.3.0-18) ) #1 SMP Debian 4.9.30-2";
    expect(parseBanner(old)).toMatchObject({ compiler: "gcc version 6.3.0 20170516 (Debian 6.3.0-18)", linker: "" });
  });

  test("a builder with parentheses", () => {
    const text = "Linux version 6.6.1 (me (at home)) (clang version 17.0.1, LLD 17.0.1) #2";
    expect(parseBanner(text)).toMatchObject({ builder: "me (at home)", linker: "LLD 17.0.1", version: "#2" });
  });

  test.each(["", "Linux version 6.1.0", "Linux version 6.1.0 (a@b) (gcc", "Windows"])("%j is refused", (text) => {
    expect(() => parseBanner(text)).toThrow(/version line/);
  });
});
