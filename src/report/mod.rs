//! Floor 5: one-way facts to log and metrics. Decides nothing.
