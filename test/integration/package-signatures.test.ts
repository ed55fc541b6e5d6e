import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { signModule } from "../../src/package/sign-module.ts";
import { kmend } from "../cli/captured.ts";
import { smallModule } from "../update/small-module.ts";
import { Scratch, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let signFile: string;
let module: string;
let folder: string;
let key: string;
let certificate: string;

beforeAll(async () => {
  const { tree, kernel } = await stockKernel();
  signFile = join(tree.path, "scripts/sign-file");
  folder = scratch.folder();
  module = smallModule(folder, { name: "livepatch-fix", release: kernel.release });
  [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
  const request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=live patches", "-days", "2"];
  execFileSync("openssl", [...request, "-keyout", key, "-out", certificate], { stdio: "pipe" });
});
afterEach(() => vi.unstubAllEnvs());
afterAll(() => scratch.remove());

/** The module as the kernel's own program signs it. */
function signedByKernel(hash = "sha256"): Buffer {
  const path = join(folder, `signed-${hash}.ko`);
  execFileSync(signFile, [hash, key, certificate, module, path]);
  return readFileSync(path);
}

const unpackers = {
  rpm: ["sh", "-c", 'rpm2cpio "$1" | cpio -idm --quiet', "sh"],
  deb: ["sh", "-c", 'dpkg-deb -x "$1" .', "sh"],
  tar: ["tar", "-xzf"],
} as const;

/** The module in a package that kmend signs and makes. */
async function packagedModule(format: keyof typeof unpackers, ...options: string[]): Promise<Buffer> {
  const output = scratch.folder();
  const words = ["package", "--format", format, "--require-signature", ...options, "--output", output, module];
  const { exitCode, stderr } = await kmend(...words);
  expect(exitCode, stderr).toBe(0);
  const at = scratch.folder();
  const [program, ...unpack] = unpackers[format];
  execFileSync(program, [...unpack, join(output, readdirSync(output)[0] as string)], { cwd: at });
  const [found] = execFileSync("find", [at, "-name", "*.ko"], { encoding: "utf8" }).split("\n");
  return readFileSync(found as string);
}

test.each(["rpm", "deb", "tar"] as const)(
  "a module in a package of format %s has the signature of sign-file, byte for byte",
  async (format) => {
    const found = await packagedModule(format, "--sign-key", key, "--sign-cert", certificate);
    expect(found.equals(signedByKernel())).toBe(true);
  },
);

test("with another digest, and a certificate in DER", async () => {
  const der = join(folder, "certificate.der");
  execFileSync("openssl", ["x509", "-in", certificate, "-outform", "DER", "-out", der]);
  const found = await packagedModule("tar", "--sign-key", key, "--sign-cert", der, "--sign-hash", "sha512");
  expect(found.equals(signedByKernel("sha512"))).toBe(true);
});

test("with an encrypted key whose passphrase is in KBUILD_SIGN_PIN", async () => {
  const locked = join(folder, "locked.pem");
  execFileSync("openssl", ["pkcs8", "-topk8", "-in", key, "-out", locked, "-passout", "pass:secret"]);
  vi.stubEnv("KBUILD_SIGN_PIN", "secret");
  expect((await packagedModule("tar", "--sign-key", locked, "--sign-cert", certificate)).equals(signedByKernel())).toBe(
    true,
  );
});

test("with a key that is in a token", async () => {
  const home = scratch.folder();
  mkdirSync(join(home, "tokens"));
  writeFileSync(join(home, "softhsm2.conf"), `directories.tokendir = ${join(home, "tokens")}\n`);
  vi.stubEnv("SOFTHSM2_CONF", join(home, "softhsm2.conf"));
  vi.stubEnv("PKCS11_MODULE_PATH", "/usr/lib/softhsm/libsofthsm2.so");
  const pkcs8 = join(home, "key.pem");
  execFileSync("openssl", ["pkcs8", "-topk8", "-nocrypt", "-in", key, "-out", pkcs8]);
  const pins = ["--pin", "1234"];
  execFileSync("softhsm2-util", ["--init-token", "--free", "--label", "kmend", ...pins, "--so-pin", "1234"]);
  const object = ["--label", "signing", "--id", "01"];
  execFileSync("softhsm2-util", ["--import", pkcs8, "--token", "kmend", ...object, ...pins]);
  vi.stubEnv("KBUILD_SIGN_PIN", "1234");
  const uri = "pkcs11:token=kmend;object=signing;type=private";
  expect((await packagedModule("tar", "--sign-key", uri, "--sign-cert", certificate)).equals(signedByKernel())).toBe(
    true,
  );
});

test("an unsigned module is refused where a signature is required, and a second signature anywhere", async () => {
  const required = await kmend("package", "--require-signature", "-o", scratch.folder(), module);
  expect(required).toMatchObject({ exitCode: 7, stderr: expect.stringContaining("error[NOT_SIGNED]") });
  await expect(signModule(signedByKernel(), { key, certificate })).rejects.toMatchObject({ code: "ALREADY_SIGNED" });
});

test("a missing key, and half a pair, are wrong usage", async () => {
  for (const words of [
    ["--sign-key", join(folder, "nowhere.pem"), "--sign-cert", certificate],
    ["--sign-key", key],
  ]) {
    expect((await kmend("package", ...words, "-o", scratch.folder(), module)).exitCode).toBe(2);
  }
});
