"""What a carrier of the yard sells: labels with a price and a document, which can be voided."""

from __future__ import annotations

import base64
import random
from typing import Any

BUY, VOID = "buy_label", "void_label"
CENTS_MIN, CENTS_MAX = 450, 9_999


def label_of(seed: int, number: str) -> dict[str, str]:
    """What a label costs and how it looks; nobody who was not told could say it."""
    chance = random.Random(f"{seed}:label:{number}")
    cents = chance.randint(CENTS_MIN, CENTS_MAX)
    image = f"^XA^FO50,50^FD{number}^FS^FO50,90^FD{chance.getrandbits(128):032X}^FS^XZ"
    return {
        "price": f"{cents // 100}.{cents % 100:02}",
        "document": base64.b64encode(image.encode()).decode(),
    }


def told(effect: dict[str, Any]) -> dict[str, str]:
    """What the vendor says of something that it sold."""
    names = ("number", "price", "document")
    return {name: str(effect[name]) for name in names if name in effect}
