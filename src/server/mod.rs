//! Floor 9: where all meet: listen, connection, transfer, reload, shutdown.
