import { fileURLToPath } from "node:url";
import { packageFolder } from "../src/support/own-files.ts";
import { buildExecutable } from "./executable.ts";
import { buildPackages } from "./packages.ts";

function inDist(name: string): string {
  return fileURLToPath(new URL(`dist/${name}`, packageFolder()));
}

/** What `npm run build:WHAT` makes, each in a folder of dist/. */
const products: Readonly<Record<string, () => Promise<readonly string[]>>> = {
  packages: async () => buildPackages(await buildExecutable(inDist("executable")), inDist("packages"), "small"),
  executable: async () => [(await buildExecutable(inDist("executable"))).path],
};

const [what = ""] = process.argv.slice(2);
const make = products[what];
if (make === undefined) {
  console.error(`nothing to make is named ${JSON.stringify(what)}; there are ${Object.keys(products).join(", ")}`);
  process.exit(2);
}
for (const path of await make()) console.log(path);
