"""MLflow: a copy of what the store holds, written beside the training and never waited for.

`Follower` keeps it up to date while a sweep runs, `sync` brings it up to date once, `serve` shows it.
"""

from procray.tracking.backend import caution, redact, tracking_uri
from procray.tracking.follow import Follower
from procray.tracking.locations import check as check_locations
from procray.tracking.session import SyncResult
from procray.tracking.sync import sync
from procray.tracking.ui import serve
from procray.tracking.views import deep_link

__all__ = [
    "Follower",
    "SyncResult",
    "caution",
    "check_locations",
    "deep_link",
    "redact",
    "serve",
    "sync",
    "tracking_uri",
]
