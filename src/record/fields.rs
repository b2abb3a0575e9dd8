//! Reading several values out of one record, one behind the other.

use super::{DecodeError, DeserializeRecord, LENGTH_BYTES};

/// What is left of a record, and where in it that begins; for errors. Wait-free throughout, and allocates nothing.
///
/// # Examples
/// ```
/// use forebay::record::{DecodeError, Fields};
/// let mut fields = Fields::new(b"\0\0\0\x07\0\0\0\x02hi");
/// assert_eq!((fields.read::<u32>()?, fields.read::<&str>()?), (7, "hi"));
/// fields.finish("pair")?; // nothing may follow
///
/// let mut fields = Fields::new(b"\0\0\0\x07\0\0\0\x09hi");
/// fields.read::<u32>()?;
/// let cut = DecodeError::CutShort { kind: "length-prefixed value", offset: 4, missing: 7 };
/// assert_eq!(fields.read::<&str>(), Err(cut));
/// # Ok::<(), DecodeError>(())
/// ```
///
/// # Source
/// Flink's `DataInputView`.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
    position: usize,
}

impl<'a> Fields<'a> {
    /// All of `bytes`, a record.
    #[must_use]
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, position: 0 }
    }

    /// Bytes that were taken already.
    #[must_use]
    #[inline]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes that are left.
    #[must_use]
    #[inline]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next value, in its form as a field.
    ///
    /// # Errors
    /// [`DecodeError`]: what stands there is no such value. How much was taken is unspecified then.
    #[inline]
    pub fn read<T: DeserializeRecord<'a>>(&mut self) -> Result<T, DecodeError> {
        T::deserialize_field(self)
    }

    /// The next `len` bytes, of a `kind`.
    ///
    /// # Errors
    /// [`DecodeError::CutShort`]: there are fewer; none was taken.
    #[inline]
    pub fn take(&mut self, len: usize, kind: &'static str) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.cut_short(kind, len));
        };
        self.rest = rest;
        self.position += len;
        Ok(taken)
    }

    /// The next `N` bytes, of a `kind`.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    #[inline]
    pub fn take_array<const N: usize>(&mut self, kind: &'static str) -> Result<&'a [u8; N], DecodeError> {
        let Some((taken, rest)) = self.rest.split_first_chunk() else { return Err(self.cut_short(kind, N)) };
        self.rest = rest;
        self.position += N;
        Ok(taken)
    }

    /// The bytes of a value with its length before it.
    ///
    /// # Errors
    /// [`DecodeError::CutShort`]: the record ends before the value does; none was taken.
    #[inline]
    pub fn take_prefixed(&mut self) -> Result<&'a [u8], DecodeError> {
        const KIND: &str = "length-prefixed value";
        let Some((length, _)) = self.rest.split_first_chunk() else { return Err(self.cut_short(KIND, LENGTH_BYTES)) };
        let len = u32::from_be_bytes(*length) as usize;
        match self.take(LENGTH_BYTES.saturating_add(len), KIND) {
            Ok(taken) => Ok(&taken[LENGTH_BYTES..]),
            Err(error) => Err(error),
        }
    }

    /// Everything that is left.
    #[inline]
    pub fn take_rest(&mut self) -> &'a [u8] {
        let rest = std::mem::take(&mut self.rest);
        self.position += rest.len();
        rest
    }

    /// Sees that nothing is left behind a `kind`.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`].
    #[inline]
    pub fn finish(&self, kind: &'static str) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(DecodeError::Trailing { kind, offset: self.position, extra: self.rest.len() })
    }

    /// The next byte, without taking it.
    pub(super) fn peek(&self) -> &'a [u8] {
        self.rest
    }

    #[cold]
    fn cut_short(&self, kind: &'static str, len: usize) -> DecodeError {
        DecodeError::CutShort { kind, offset: self.position, missing: len - self.rest.len() }
    }
}
