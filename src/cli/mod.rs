//! Floor 10: the commands.

pub mod check;
pub mod load;
pub mod passwd;
pub mod sink;
