//! Floor 5: streams, TLS, listening sockets, DNS.
