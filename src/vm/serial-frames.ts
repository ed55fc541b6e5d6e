/**
 * How the guest hands data to the host over a serial line: one frame is a line `@TOKEN< NAME STATUS`, base64 lines, and a line
 * `@TOKEN> NAME`. The token is random for each run, so that nothing a probe prints can be mistaken for a frame.
 */
export interface Frame {
  readonly name: string;
  /** Exit status that the guest sent along; 0 where there is none. */
  readonly status: number;
  readonly text: string;
}

interface OpenFrame {
  readonly name: string;
  readonly status: number;
  readonly lines: string[];
}

/** Picks the frames out of a serial line, piece by piece; whatever is not part of a whole frame is dropped. */
export class FrameDecoder {
  readonly frames: Frame[] = [];
  readonly #token: string;
  readonly #onFrame: (frame: Frame) => void;
  #rest = "";
  #open: OpenFrame | undefined;

  constructor(token: string, onFrame: (frame: Frame) => void = () => {}) {
    this.#token = token;
    this.#onFrame = onFrame;
  }

  /** Takes the next characters of the line; a piece may end anywhere. */
  push(piece: string): void {
    const lines = (this.#rest + piece).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#take(line.replaceAll("\r", ""));
  }

  #take(line: string): void {
    const marker = line.indexOf(`@${this.#token}`);
    if (marker < 0) {
      this.#open?.lines.push(line);
      return;
    }
    const text = line.slice(marker + 1 + this.#token.length);
    const begin = /^< (\S+) (\d+)$/.exec(text);
    if (begin !== null) {
      this.#open = { name: begin[1] as string, status: Number(begin[2]), lines: [] };
      return;
    }
    const end = /^> (\S+)$/.exec(text);
    const open = this.#open;
    this.#open = undefined;
    if (end === null || open === undefined || end[1] !== open.name) return;
    const base64 = open.lines.join("");
    if (!/^[A-Za-z0-9+/]*={0,2}$/.test(base64) || base64.length % 4 !== 0) return;
    const frame = { name: open.name, status: open.status, text: Buffer.from(base64, "base64").toString("utf8") };
    this.frames.push(frame);
    this.#onFrame(frame);
  }

  /** The first frame of that name. */
  find(name: string): Frame | undefined {
    return this.frames.find((frame) => frame.name === name);
  }
}
