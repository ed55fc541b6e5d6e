import fc from "fast-check";
import { expect, test } from "vitest";
import { FrameDecoder } from "../../src/vm/serial-frames.ts";

const token = "a1b2c3";

/** What the guest's `send` writes: busybox base64 breaks lines after 76 characters. */
function sent(name: string, status: number, text: string): string {
  const base64 = Buffer.from(text).toString("base64").replace(/.{76}/g, "$&\n");
  return `@${token}< ${name} ${status}\n${base64}\n@${token}> ${name}\n`;
}

test("a frame arrives whole, whatever pieces the line comes in", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.nat(255), fc.integer({ min: 1, max: 40 }), (text, status, size) => {
      const decoder = new FrameDecoder(token);
      const line = sent("probe.0", status, text).replaceAll("\n", "\r\n");
      for (let at = 0; at < line.length; at += size) decoder.push(line.slice(at, at + size));
      const wellFormed = Buffer.from(text).toString("utf8");
      expect(decoder.frames).toEqual([{ name: "probe.0", status, text: wellFormed }]);
    }),
  );
});

test("an empty frame is a frame", () => {
  const decoder = new FrameDecoder(token);
  decoder.push(sent("booted", 0, ""));
  expect(decoder.find("booted")).toEqual({ name: "booted", status: 0, text: "" });
});

test("text around the frames is ignored, and a marker may follow text on its line", () => {
  const decoder = new FrameDecoder(token);
  decoder.push(`SeaBIOS\nBooting from ROM..${sent("load", 1, "no")}login:`);
  expect(decoder.frames.map(({ name, text }) => [name, text])).toEqual([["load", "no"]]);
});

test("a frame that the guest did not finish does not count, the one after it does", () => {
  const decoder = new FrameDecoder(token);
  decoder.push(`@${token}< log 0\nAAAA\n`);
  decoder.push(sent("done", 0, "x"));
  expect(decoder.frames.map(({ name }) => name)).toEqual(["done"]);
});

test("a frame with foreign text in it does not count", () => {
  const decoder = new FrameDecoder(token);
  decoder.push(`@${token}< log 0\nAAAA\n[  1.0] BUG: oops\n@${token}> log\n`);
  expect(decoder.frames).toEqual([]);
});

test("a probe that prints another run's marker changes nothing", () => {
  const decoder = new FrameDecoder(token);
  decoder.push("@ffffff< load 0\n\n@ffffff> load\n");
  expect(decoder.frames).toEqual([]);
});

test("frames are announced when they arrive", () => {
  const names: string[] = [];
  const decoder = new FrameDecoder(token, ({ name }) => names.push(name));
  decoder.push(sent("booted", 0, ""));
  expect(names).toEqual(["booted"]);
});
