"""`make readme`."""

import sys

from dev.readme.running import main

sys.exit(main())
