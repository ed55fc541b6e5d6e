/** How many entries an object may have. The largest units of a kernel have a million; each takes about 270 bytes of memory. */
export const entryLimit = 2_000_000;

/** How many times its size `.debug_abbrev` may be read: units have tables of their own, or share one. */
export const abbreviationLimit = 8;
