//! Floor 9: metrics and health over HTTP.
