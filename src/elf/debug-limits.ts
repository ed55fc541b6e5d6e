/** How many entries an object may have. The largest units of a kernel have a million; each takes about 270 bytes of memory. */
export const entryLimit = 2_000_000;

/** Bytes of all unpacked line tables of an object. The largest units of a kernel have 4 MiB. */
export const lineTableLimit: number = 1 << 26;

/** How many rows of line tables may tell the line of one place, on average. One does, unless there are tables of several compilations. */
export const lineOverlapLimit = 64;

/** How many times its size `.debug_abbrev` may be read: units have tables of their own, or share one. */
export const abbreviationLimit = 8;
