"""Settings to a running gate by constructor arguments: the only composition root.

``Wiring`` names each part once, as a property that builds it from settings and other parts; nothing is opened before
``running``. Whoever wants to know what a part depends on reads its property.
"""

from broker.wiring.foundations import ALERTS_CLIENT, DEV_PATH, Development, audience, dev_issuer
from broker.wiring.gate import Wiring

__all__ = ["ALERTS_CLIENT", "DEV_PATH", "Development", "Wiring", "audience", "dev_issuer"]
