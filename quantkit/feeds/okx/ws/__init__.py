"""The WebSocket connections to OKX: sessions, subscriptions, heartbeats."""
