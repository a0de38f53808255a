"""Manhattan Active Warehouse Management: orders out, picks, packs and ship confirms in."""
