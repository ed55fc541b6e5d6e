// Stands in bundles in the place of native code that a dependency uses where it is there.
module.exports = undefined;
