import { stripVTControlCharacters } from "node:util";
import { afterEach, expect, test, vi } from "vitest";
import { Reporter, type Verbosity } from "../../src/cli/terminal/reporter.ts";
import { run } from "../../src/support/run.ts";

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllEnvs();
});

function reporter(verbosity: Verbosity, isTTY = false) {
  const written: string[] = [];
  const stream = { isTTY, columns: 60, write: (text: string) => written.push(text) };
  // How long something takes is not the test's matter.
  const text = (): string => written.join("").replaceAll(/\d+\.\d s\b/g, "0.0 s");
  return { progress: new Reporter(stream, verbosity), text };
}

test("without a terminal each phase is one line with its time", async () => {
  const { progress, text } = reporter(1);
  expect(await progress.phase("compile", "Compiling", async () => 7)).toBe(7);
  expect(text()).toBe("kmend: Compiling (0.0 s)\n");
  expect(progress.milliseconds).toEqual({ compile: expect.any(Number) });
});

test("a long phase is announced, so that a log shows what is going on", async () => {
  vi.useFakeTimers();
  const { progress, text } = reporter(1);
  const phase = progress.phase("x", "Downloading", () => new Promise((resolve) => setTimeout(resolve, 3000)));
  await vi.advanceTimersByTimeAsync(2500);
  expect(text()).toBe("kmend: Downloading …\n");
  await vi.advanceTimersByTimeAsync(1000);
  await phase;
  expect(text()).toMatch(/…\nkmend: Downloading \(\d\.\d s\)\n$/);
});

test("a failed phase is told as failed, and its error passes through", async () => {
  const { progress, text } = reporter(1);
  const work = progress.phase("x", "Linking", () => Promise.reject(new Error("no")));
  await expect(work).rejects.toThrow("no");
  expect(text()).toBe("kmend: Linking: failed (0.0 s)\n");
});

test("equal notes are told once; steps only with -v; nothing with -q", async () => {
  for (const [verbosity, expected] of [
    [0, ""],
    [1, "note: fuzz\nkmend: Applying (0.0 s)\n"],
    [2, "note: fuzz\nkmend:   hunk 1\nkmend: Applying (0.0 s)\n"],
  ] as const) {
    const { progress, text } = reporter(verbosity);
    await progress.phase("x", "Applying", async (status) => {
      progress.note("fuzz");
      progress.note("fuzz");
      status("hunk 1");
    });
    expect(text()).toBe(expected);
  }
});

test("times of phases with one name add up, in the order of their begin", async () => {
  vi.useFakeTimers();
  const { progress } = reporter(0);
  const wait = (name: string, time: number) =>
    progress.phase(name, name, () => new Promise((resolve) => setTimeout(resolve, time)));
  for (const [name, time] of [
    ["a", 30],
    ["b", 20],
    ["a", 10],
  ] as const) {
    const phase = wait(name, time);
    await vi.advanceTimersByTimeAsync(time);
    await phase;
  }
  expect(progress.milliseconds).toEqual({ a: 40, b: 20 });
});

test("on a terminal the running phase is redrawn in place and ends as one ticked line", async () => {
  vi.stubEnv("TERM", "xterm");
  const { progress, text } = reporter(1, true);
  await progress.phase("x", "Booting", async (status) => {
    status("step");
    progress.note("remark");
  });
  const shown = screen(text());
  expect(shown).toEqual(["note: remark", "✔ Booting (0.0 s)"]);
});

test("a live line never wraps", async () => {
  vi.stubEnv("TERM", "xterm");
  const { progress, text } = reporter(1, true);
  await progress.phase("x", "long ".repeat(40), async () => progress.note("n"));
  const live = stripVTControlCharacters(text())
    .split("\n")
    .filter((line) => line.startsWith("⠋"));
  expect(live.length).toBeGreaterThan(0);
  for (const line of live) expect(line.length).toBeLessThan(60);
});

/** What a terminal shows in the end: `ESC[nA` goes up n lines, `ESC[J` clears from there. */
function screen(output: string): string[] {
  const lines: string[] = [];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the control characters are what is tested
  for (const piece of output.split(/(\u001b\[\d+A\u001b\[J|\n)/)) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: see above
    const up = /^\u001b\[(\d+)A/.exec(piece)?.[1];
    if (up !== undefined) lines.length -= Number(up);
    else if (piece !== "\n" && piece !== "") lines.push(stripVTControlCharacters(piece));
  }
  return lines;
}

test("programs are told with -v, and what they said with -vv, until the reporter is stopped", async () => {
  for (const [verbosity, expected] of [
    [1, /^$/],
    [2, /^\+ printf '%s\\n' 'it'\\''s' here\n$/],
    [3, /^\+ printf '%s\\n' 'it'\\''s' here\n {2}exit code 0 after \d+\.\d s\n {2}it's\n {2}here\n$/],
  ] as const) {
    const { progress, text } = reporter(verbosity);
    await run("printf", ["%s\\n", "it's", "here"]);
    progress.stop();
    await run("printf", ["stopped"]);
    expect(text()).toMatch(expected);
  }
});
