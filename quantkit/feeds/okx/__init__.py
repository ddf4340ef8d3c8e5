"""OKX's live data: codec, tracker, sockets, REST, and the live source made of them."""
