"""`python -m procray.tracking`: the process behind `Follower`."""

import sys

from procray.tracking.follow import main

main(sys.argv[1:])
