"""The panel: a local page and its HTTP + WebSocket API, on loopback, closed by a token."""
