//! Floor 8: the filters in their order.
