//! Scratch.
mod header;
mod parts;
mod rows;
mod signals;
mod staging;
