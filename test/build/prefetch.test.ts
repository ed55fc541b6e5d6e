import { once } from "node:events";
import { expect, test } from "vitest";
import { anyOf, Prefetch } from "../../src/build/prefetch.ts";

test("what is registered begins when it is asked for, and once", async () => {
  const prefetch = new Prefetch();
  let begun = 0;
  const early = prefetch.of(async () => ++begun);
  expect(begun).toBe(0);
  early.begin();
  early.begin();
  expect(await early.result()).toBe(1);
  expect(await early.result()).toBe(1);
  const late = prefetch.of(async () => ++begun);
  expect(await late.result()).toBe(2);
});

test("an early error waits for whoever asks", async () => {
  const prefetch = new Prefetch();
  const early = prefetch.of(() => Promise.reject(new Error("broken")));
  early.begin();
  await new Promise((resolve) => setImmediate(resolve));
  await expect(early.result()).rejects.toThrow("broken");
  await expect(early.result()).rejects.toThrow("broken");
});

test("the end stops what nobody asked for, and waits for all that runs", async () => {
  const prefetch = new Prefetch();
  const ended: string[] = [];
  const running = prefetch.of(async (dropped) => {
    await once(dropped, "abort");
    ended.push("dropped");
    throw dropped.reason;
  });
  running.begin();
  let finish: (value: string) => void = () => {};
  const wanted = prefetch.of(async (dropped) => {
    const value = await new Promise<string>((resolve) => {
      finish = resolve;
    });
    ended.push(dropped.aborted ? "ended" : value);
  });
  const result = wanted.result();
  const never = prefetch.of(async () => ended.push("begun"));
  const stopped = prefetch.stop().then(() => ended.push("stopped"));
  await new Promise((resolve) => setImmediate(resolve));
  expect(ended).toEqual(["dropped"]);
  finish("finished");
  await Promise.all([result, stopped]);
  expect(ended).toEqual(["dropped", "finished", "stopped"]);
  expect(never).toBeDefined();
});

test("either of two signals ends work", () => {
  const [dropped, interrupt] = [new AbortController(), new AbortController()];
  expect(anyOf(dropped.signal, undefined)).toBe(dropped.signal);
  const either = anyOf(dropped.signal, interrupt.signal);
  expect(either.aborted).toBe(false);
  interrupt.abort();
  expect(either.aborted).toBe(true);
});
