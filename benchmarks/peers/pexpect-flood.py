"""Reads all output of `cat FILE` through pexpect's expect, until the last line; prints the seconds."""
import re
import sys
import time

import pexpect

path, last = sys.argv[1:]
began = time.perf_counter()
# By default it searches all that came again with each 2,000 bytes. So much searches everything once; less would not see
# a match that is further back than that in what was read at once.
child = pexpect.spawn("sh", ["-c", "cat '%s'; exec sleep 60" % path], maxread=65536, searchwindowsize=65536 + 200, dimensions=(24, 80))
child.expect(re.escape(last), timeout=120)
print(time.perf_counter() - began)
child.close(force=True)
