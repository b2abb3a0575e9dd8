//! Scratch.
mod header;
mod rows;
