import type { FakeArchive } from "./fake-archive.ts";

/** A kernel of the fake archive, and which of Ubuntu's packages it has. */
export interface UbuntuKernel {
  readonly release: string;
  readonly version: string;
  readonly source?: string;
  readonly image?: readonly ("signed" | "unsigned")[];
  readonly extra?: boolean;
  readonly sourcePackage?: boolean;
}

/** Offers a kernel in the packages that Ubuntu makes of it. */
export async function offerUbuntuKernel(archive: FakeArchive, kernel: UbuntuKernel): Promise<void> {
  const { release, version, source = "linux", image = ["signed", "unsigned"], extra = true } = kernel;
  const modules = `lib/modules/${release}`;
  const vmlinuz = { [`boot/vmlinuz-${release}`]: `image of ${version}` };
  if (image.includes("signed")) {
    const fields = { Source: source.replace("linux", "linux-signed") };
    await archive.offer({ name: `linux-image-${release}`, version, fields, files: vmlinuz });
  }
  if (image.includes("unsigned")) {
    await archive.offer({
      name: `linux-image-unsigned-${release}`,
      version,
      fields: { Source: source },
      files: vmlinuz,
    });
  }
  await archive.offer({
    name: `linux-modules-${release}`,
    version,
    fields: source === "linux" ? { Source: "linux" } : { Source: source },
    files: {
      [`boot/config-${release}`]: `config of ${version}`,
      [`${modules}/modules.order`]: "kernel/fs/fuse/fuse.ko\nkernel/drivers/block/zram/zram.ko\n",
      [`${modules}/kernel/fs/fuse/fuse.ko.zst`]: "fuse",
    },
  });
  if (extra) {
    const files = { [`${modules}/kernel/drivers/block/zram/zram.ko.zst`]: "zram" };
    await archive.offer({ name: `linux-modules-extra-${release}`, version, files });
  }
  const headers = { [`usr/src/linux-headers-${release}/Module.symvers`]: `symvers of ${version}` };
  await archive.offer({ name: `linux-headers-${release}`, version, files: headers });
  await archive.offer({ name: `linux-headers-${release.replace(/-[a-z]+$/, "")}`, version });
  await archive.offer({ name: `linux-image-unsigned-${release}-dbgsym`, version });
  if (kernel.sourcePackage === false) return;
  const name = `${source}-source-${version.split("-")[0]}`;
  await archive.offer({ name, version, files: { [`usr/src/${name}/${name}.tar.bz2`]: `source of ${version}` } });
}
