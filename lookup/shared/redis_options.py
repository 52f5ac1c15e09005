"""What every client of Redis sets, the batch's and the lookup's. Standard library only.

Servers before Redis 6, and proxies, know neither HELLO nor CLIENT SETINFO.
"""

from collections.abc import Mapping
from typing import Any

OPTIONS: Mapping[str, Any] = {
    "decode_responses": True,
    "protocol": 2,  # 3 needs HELLO, without a benefit here
    "driver_info": None,
}
