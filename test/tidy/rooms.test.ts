import { join } from "node:path";
import { expect, test } from "vitest";
import { roomPicture } from "./room-picture.ts";
import { read, repositoryFiles, root } from "./source-files.ts";

test("the picture of the rooms shows the imports of today", async () => {
  // `npx vitest run --project unit test/tidy/rooms.test.ts -u` draws it anew.
  await expect(roomPicture()).toMatchFileSnapshot(join(root, "docs/rooms.svg"));
});

test("the picture has a box for each room", () => {
  const rooms = new Set(repositoryFiles().flatMap((path) => /^src\/([\w-]+)\//.exec(path)?.[1] ?? []));
  const boxes = [...read("docs/rooms.svg").matchAll(/<text[^>]*>([\w-]+)</g)].map((match) => match[1]);
  expect(boxes.sort()).toEqual([...rooms].sort());
});
