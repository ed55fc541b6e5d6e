#!/bin/sh
# The root file system is there, and none of its programs runs yet.
[ ! -x /lib/kmend/load ] || sh /lib/kmend/load "$NEWROOT"
