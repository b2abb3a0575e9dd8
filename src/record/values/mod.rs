//! The layouts of the types that everybody has. The table is in the docs of
//! [`SerializeRecord`](super::SerializeRecord#layouts).

mod bytes;
mod compound;
mod row;
mod scalar;
mod sequence;
mod string_value;
#[cfg(all(test, not(forebay_loom)))]
mod tests;

pub use row::{Row, RowKind};
pub use string_value::{NullableStringValue, StringValue};
