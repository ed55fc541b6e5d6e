import { execFileSync } from "node:child_process";
import { appendFile, chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

/** A package of the fake archive. */
export interface FakePackage {
  readonly name: string;
  readonly version: string;
  readonly fields?: Readonly<Record<string, string>>;
  /** Files by path. */
  readonly files?: Readonly<Record<string, string>>;
}

/** What apt-get does when it is asked to download. */
export type Failure = "none" | "network" | "space" | "hash" | "outdated once" | "outdated" | "truncated";

const aptCache = `#!/bin/sh
case $1 in
pkgnames) sed -n 's/^Package: //p' "$FAKE/index" | sort -u | grep "^$2"; true ;;
show)
  shift
  if [ "$1" = --no-all-versions ]; then candidate=1; else candidate=0; fi
  awk -v names=" $* " -v candidate=$candidate 'BEGIN { RS = ""; ORS = "\\n\\n" } { split($0, lines, "\\n"); split(lines[1], words, " ") } index(names, " " words[2] " ") { last = $0; if (!candidate) print } END { if (candidate && last) print last }' "$FAKE/index" ;;
esac
`;

const aptGet = `#!/bin/sh
echo "apt-get $*" >> "$FAKE/log"
case "$*" in *" source --download-only "*)
  for spec; do :; done
  if cp "$FAKE/sources/\${spec%%=*}_\${spec#*=}"* . 2>/dev/null; then exit 0; fi
  echo "E: You must put some 'deb-src' URIs in your sources.list"; exit 100 ;;
esac
case "$*" in *" update")
  if [ -s "$FAKE/no-updates" ]; then cat "$FAKE/no-updates"; exit 100; fi
  cp "$FAKE/archive" "$FAKE/index"; exit 0 ;; esac
case $(cat "$FAKE/failure") in
network) echo "E: Failed to fetch http://deb.example.org/a.deb  Temporary failure resolving 'deb.example.org'"; exit 100 ;;
space) echo "E: You don't have enough free space in $PWD."; exit 100 ;;
hash) echo "E: Failed to fetch http://deb.example.org/a.deb  Hash Sum mismatch"; exit 100 ;;
"outdated once") echo none > "$FAKE/failure"; echo "E: Failed to fetch http://deb.example.org/a.deb  404  Not Found [IP: 192.0.2.1 80]"; exit 100 ;;
outdated) echo "E: Failed to fetch http://deb.example.org/a.deb  404  Not Found [IP: 192.0.2.1 80]"; exit 100 ;;
truncated) cut=yes ;;
esac
while [ "$1" != download ]; do shift; done
shift
for spec; do
  file="\${spec%%=*}_\${spec#*=}_amd64.deb"
  if ! cp "$FAKE/debs/$file" . 2>/dev/null; then
    echo "E: Can't find a source to download version '\${spec#*=}' of '\${spec%%=*}:amd64'"
    exit 100
  fi
  if [ -n "$cut" ]; then truncate -s 300 "$file"; fi
done
`;

/** An archive on the disk, with `apt-cache`, `apt-get` and `dpkg-query` that know nothing else; packages are unpacked by the real dpkg-deb. */
export class FakeArchive {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Puts the programs first on the PATH of this process. */
  static async create(folder: string): Promise<FakeArchive> {
    const archive = new FakeArchive(folder);
    await mkdir(join(folder, "bin"), { recursive: true });
    await mkdir(join(folder, "debs"));
    for (const name of ["index", "archive", "installed", "log"]) await writeFile(join(folder, name), "");
    await archive.fail("none");
    const programs = {
      "apt-cache": aptCache,
      "apt-get": aptGet,
      "dpkg-query": '#!/bin/sh\ncat "$FAKE/installed"\n',
    };
    for (const [name, text] of Object.entries(programs)) {
      await writeFile(join(folder, "bin", name), text);
      await chmod(join(folder, "bin", name), 0o755);
    }
    process.env["FAKE"] = folder;
    process.env["PATH"] = `${join(folder, "bin")}:${process.env["PATH"]}`;
    return archive;
  }

  /** Offers a package, whose last version is the one that apt would install; `listed: false` leaves it out of this machine's lists until `apt-get update`. */
  async offer(wanted: FakePackage, listed = true): Promise<void> {
    const { name, version, fields = {}, files = {} } = wanted;
    const deb = `${name}_${version}_amd64.deb`;
    const stanza = ["Package", "Version", "Architecture"]
      .map((field, index) => `${field}: ${[name, version, "amd64"][index]}`)
      .concat(Object.entries(fields).map(([field, value]) => `${field}: ${value}`))
      .concat(`Filename: pool/${deb}`, "Description: a fake package", "", "")
      .join("\n");
    await appendFile(join(this.folder, "archive"), stanza);
    if (listed) await appendFile(join(this.folder, "index"), stanza);
    const content = join(this.folder, "content");
    await mkdir(join(content, "DEBIAN"), { recursive: true });
    const further = Object.entries(fields).map(([field, value]) => `${field}: ${value}\n`);
    await writeFile(
      join(content, "DEBIAN/control"),
      `Package: ${name}\nVersion: ${version}\nArchitecture: amd64\nMaintainer: nobody <nobody@example.org>\n${further.join("")}Description: fake\n`,
    );
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(content, path)), { recursive: true });
      await writeFile(join(content, path), text);
    }
    execFileSync("dpkg-deb", ["--root-owner-group", "-b", content, join(this.folder, "debs", deb)], {
      stdio: "ignore",
    });
    await rm(content, { recursive: true });
  }

  /** An older and a newer kernel, with the versions of the meta package that lead to them. */
  async offerTwoKernels(): Promise<void> {
    for (const [version, release] of [
      ["6.1.27-1", "6.1.0-9-amd64"],
      ["6.1.38-4", "6.1.0-10-amd64"],
    ] as const) {
      await this.offerKernel(release, version);
      const fields = { Depends: `linux-image-${release} (= ${version})` };
      await this.offer({ name: "linux-image-amd64", version, fields });
    }
  }

  /** Offers image, headers and (unless `source` is false) source of a kernel release. */
  async offerKernel(release: string, version: string, source = true): Promise<void> {
    const series = /^\d+\.\d+/.exec(version)?.[0];
    await this.offer({
      name: `linux-image-${release}`,
      version,
      fields: { "Built-Using": `linux (= ${version})`, Source: "linux-signed-amd64 (1)" },
      files: {
        [`boot/vmlinuz-${release}`]: `image of ${release} ${version}`,
        [`boot/config-${release}`]: "CONFIG_X86_64=y\n",
        [`lib/modules/${release}/modules.order`]: "kernel/fs/fuse/fuse.ko\n",
      },
    });
    await this.offer({
      name: `linux-headers-${release}`,
      version,
      files: { [`usr/src/linux-headers-${release}/Module.symvers`]: `symvers of ${version}` },
    });
    if (!source) return;
    await this.offer({
      name: `linux-source-${series}`,
      version,
      files: { [`usr/src/linux-source-${series}.tar.xz`]: `source of ${version}` },
    });
  }

  async install(...lines: readonly string[]): Promise<void> {
    await writeFile(join(this.folder, "installed"), lines.map((line) => `${line.replace(" ", "\t")}\tii \n`).join(""));
  }

  async fail(failure: Failure): Promise<void> {
    await writeFile(join(this.folder, "failure"), failure);
  }

  /** From now on apt-get update prints this and fails. */
  async failUpdates(said: string): Promise<void> {
    await writeFile(join(this.folder, "no-updates"), `${said}\n`);
  }

  /** Empties the lists of this machine. */
  async forget(): Promise<void> {
    await writeFile(join(this.folder, "index"), "");
  }

  /** Commands of apt-get that changed or fetched something, without their options. */
  async commands(): Promise<string[]> {
    const log = await readFile(join(this.folder, "log"), "utf8");
    return log.split("\n").flatMap((line) => /\b(?:download .*|source .*|update)$/.exec(line)?.[0] ?? []);
  }
}
