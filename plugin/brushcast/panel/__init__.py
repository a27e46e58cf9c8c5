"""The panel: a local page and its HTTP + WebSocket API. Loopback only; every request that matters carries a token."""
