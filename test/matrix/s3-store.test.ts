import { afterEach, beforeEach, expect, test } from "vitest";
import { getObject, putObject } from "../../src/matrix/store/records.ts";
import { openS3Store } from "../../src/matrix/store/s3-store.ts";
import { S3Server } from "./s3-server.ts";

let server: S3Server;
beforeEach(async () => {
  server = await new S3Server().start();
});
afterEach(() => server.stop());

test("a bucket is a store: names are made once", async () => {
  const store = await openS3Store("s3://bucket/fleet/store", server.config);
  expect((await openS3Store("s3://bucket/fleet/store", server.config)).id).toBe(store.id);
  expect((await openS3Store("s3://bucket/other", server.config)).id).not.toBe(store.id);
  expect(await store.read("results/x")).toBeUndefined();
  expect(await store.create("results/x", Buffer.from("one"))).toBe("created");
  expect(await store.create("results/x", Buffer.from("one"))).toBe("same");
  expect(await store.create("results/x", Buffer.from("two"))).toBe("other");
  expect(Buffer.from((await store.read("results/x")) ?? []).toString()).toBe("one");
  const digest = await putObject(store, Buffer.from("a module"));
  expect(Buffer.from(await getObject(store, digest)).toString()).toBe("a module");
  for (const name of ["a", "b", "c", "d"]) await store.create(`results/${name}`, Buffer.from(name));
  expect(await store.list("results/")).toEqual(["results/a", "results/b", "results/c", "results/d", "results/x"]);
});

test("of two that make a name at once, one does", async () => {
  const store = await openS3Store("s3://bucket", server.config);
  const ends = await Promise.all(["a", "b", "c"].map((text) => store.create("results/x", Buffer.from(text))));
  expect(ends.filter((end) => end === "created")).toHaveLength(1);
  expect(ends.filter((end) => end === "other")).toHaveLength(2);
});

test("a server that is busy for a moment is asked again", async () => {
  const store = await openS3Store("s3://bucket", server.config);
  server.failing = 2;
  expect(await store.create("results/x", Buffer.from("one"))).toBe("created");
});

test("a damaged object is found", async () => {
  const store = await openS3Store("s3://bucket", server.config);
  const digest = await putObject(store, Buffer.from("a module"));
  server.objects.set(`objects/${digest.slice(0, 2)}/${digest}`, Buffer.from("another"));
  await expect(getObject(store, digest)).rejects.toMatchObject({ code: "STORE_DAMAGED" });
});

test("what is no store is refused with a reason", async () => {
  await expect(openS3Store("s3://missing", server.config)).rejects.toMatchObject({
    code: "STORE_UNREACHABLE",
    exitCode: 5,
  });
  await expect(openS3Store("s3://b", server.config)).rejects.toMatchObject({ code: "USAGE", exitCode: 2 });
  server.objects.set("photo.jpg", Buffer.from("x"));
  await expect(openS3Store("s3://bucket", server.config)).rejects.toMatchObject({ code: "STORE_NOT_EMPTY" });
  server.isConditional = false;
  await expect(openS3Store("s3://bucket/x", server.config)).rejects.toMatchObject({ code: "STORE_UNCONDITIONAL" });
});
