//! Fields, one after the other, each with its name and place for the error.

use super::DecodeError;

/// A place in the bytes of one structure.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// What is in front of `bytes`, for errors.
    base: u64,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8], base: u64) -> Self {
        Self { bytes, at: 0, base }
    }

    /// Where the next field begins.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// What has not been read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(super) fn slice(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let rest = self.rest();
        let found = rest.get(..len).ok_or_else(|| DecodeError::CutShort {
            field,
            missing: len - rest.len(),
            offset: self.offset(),
        })?;
        self.at += len;
        Ok(found)
    }

    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        self.slice(field, N).map(|bytes| *bytes.first_chunk().expect("a slice of N bytes"))
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array(field).map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.array(field).map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.array(field).map(i64::from_be_bytes)
    }

    /// 0 or 1.
    pub(super) fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.refuse(1, field, i64::from(other), "0 or 1")),
        }
    }

    /// At least 0.
    pub(super) fn count(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let value = self.i32(field)?;
        u32::try_from(value).map_err(|_| self.refuse(4, field, i64::from(value), "at least 0"))
    }

    /// At least 1.
    pub(super) fn positive(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        match self.i32(field)? {
            value @ 1.. => Ok(value as u32),
            value => Err(self.refuse(4, field, i64::from(value), "at least 1")),
        }
    }

    /// The last field, of `len` bytes, can not have that value.
    pub(super) fn refuse(&self, len: u64, field: &'static str, value: i64, expected: &'static str) -> DecodeError {
        DecodeError::Value { field, value, expected, offset: self.offset() - len }
    }

    /// The last field, a count, is within its limit.
    pub(super) fn within(&self, field: &'static str, value: u32, limit: u32) -> Result<(), DecodeError> {
        if value > limit {
            let (value, limit) = (u64::from(value), u64::from(limit));
            return Err(DecodeError::TooLarge { field, value, limit, offset: self.offset() - 4 });
        }
        Ok(())
    }
}
