/** A function that creates objects of the size that it is given. */
export interface Allocator {
  /** Which argument is the size, from 0. */
  readonly size: number;
  /** Which argument says how memory is allocated; undefined where it may always sleep. */
  readonly gfp?: number;
  readonly zeroes: boolean;
  /** Which argument is a number of objects. */
  readonly count?: number;
  /** Function that gives back what it made; undefined where that is up to something else. */
  readonly release?: string;
}

const slab = { size: 0, gfp: 1, release: "kfree" } as const;
const virtual = { size: 0, gfp: 1, release: "kvfree" } as const;
const zeroedPart = { zeroes: true } as const;

/**
 * Functions whose memory, as far as it is the object's, has only zeros where `zeroes` says so (mm/slab_common.c, mm/util.c, mm/vmalloc.c, drivers/base/devres.c). Those that make
 * a larger object with a private part of that size allocate all of it zeroed: alloc_netdev_mqs() (net/core/dev.c), iio_device_alloc()
 * (drivers/iio/industrialio-core.c), scsi_host_alloc() (drivers/scsi/hosts.c), __spi_alloc_controller() (drivers/spi/spi.c), wiphy_new_nm() (net/wireless/core.c).
 */
export const allocators: Readonly<Record<string, Allocator>> = {
  kzalloc: { ...slab, zeroes: true },
  kmalloc: { ...slab, zeroes: false },
  kzalloc_node: { ...slab, zeroes: true },
  kmalloc_node: { ...slab, zeroes: false },
  kcalloc: { size: 1, gfp: 2, count: 0, zeroes: true, release: "kfree" },
  kmalloc_array: { size: 1, gfp: 2, count: 0, zeroes: false, release: "kfree" },
  kvzalloc: { ...virtual, zeroes: true },
  kvmalloc: { ...virtual, zeroes: false },
  kvcalloc: { size: 1, gfp: 2, count: 0, zeroes: true, release: "kvfree" },
  vzalloc: { size: 0, zeroes: true, release: "vfree" },
  vmalloc: { size: 0, zeroes: false, release: "vfree" },
  devm_kzalloc: { size: 1, gfp: 2, zeroes: true },
  devm_kmalloc: { size: 1, gfp: 2, zeroes: false },
  devm_kcalloc: { size: 2, gfp: 3, count: 1, zeroes: true },
  alloc_netdev: { size: 0, ...zeroedPart },
  alloc_netdev_mq: { size: 0, ...zeroedPart },
  alloc_netdev_mqs: { size: 0, ...zeroedPart },
  alloc_etherdev: { size: 0, ...zeroedPart },
  alloc_etherdev_mq: { size: 0, ...zeroedPart },
  alloc_etherdev_mqs: { size: 0, ...zeroedPart },
  devm_alloc_etherdev: { size: 1, ...zeroedPart },
  devm_alloc_etherdev_mqs: { size: 1, ...zeroedPart },
  alloc_candev: { size: 0, ...zeroedPart },
  alloc_candev_mqs: { size: 0, ...zeroedPart },
  iio_device_alloc: { size: 1, ...zeroedPart },
  devm_iio_device_alloc: { size: 1, ...zeroedPart },
  scsi_host_alloc: { size: 1, ...zeroedPart },
  spi_alloc_master: { size: 1, ...zeroedPart },
  spi_alloc_host: { size: 1, ...zeroedPart },
  devm_spi_alloc_master: { size: 1, ...zeroedPart },
  devm_spi_alloc_host: { size: 1, ...zeroedPart },
  ieee80211_alloc_hw: { size: 0, ...zeroedPart },
};

/** Functions that give back memory: the argument that is the object, from 0. A grace period may have to pass before the memory is gone. */
export const releases: Readonly<Record<string, { readonly object: number; readonly isLate?: true }>> = {
  kfree: { object: 0 },
  kvfree: { object: 0 },
  vfree: { object: 0 },
  kfree_sensitive: { object: 0 },
  kfree_const: { object: 0 },
  devm_kfree: { object: 1 },
  kmem_cache_free: { object: 1 },
  mempool_free: { object: 0 },
  kfree_rcu: { object: 0, isLate: true },
  kvfree_rcu: { object: 0, isLate: true },
};

/** Macros that only compare a size when the unit is compiled. */
export const sizeChecks: ReadonlySet<string> = new Set(
  "BUILD_BUG_ON BUILD_BUG_ON_MSG BUILD_BUG_ON_ZERO static_assert _Static_assert compiletime_assert".split(" "),
);
