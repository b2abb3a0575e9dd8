//! Typed and bulk access: get and put.

use super::{
    bounds::{OutOfBounds, chunk, chunk_mut, or_panic, part, part_mut},
    segment::MemorySegment,
};

/// Hands every typed accessor to a macro: what it moves, in which byte order, by which conversion, and its four names.
macro_rules! for_each_accessor {
    ($then:ident) => {
        $then! {
            u8, "a single byte", from_ne_bytes, to_ne_bytes, get_u8, try_get_u8, put_u8, try_put_u8;
            i8, "a single byte", from_ne_bytes, to_ne_bytes, get_i8, try_get_i8, put_i8, try_put_i8;
            u16, "native byte order", from_ne_bytes, to_ne_bytes, get_u16, try_get_u16, put_u16, try_put_u16;
            u16, "little-endian", from_le_bytes, to_le_bytes, get_u16_le, try_get_u16_le, put_u16_le, try_put_u16_le;
            u16, "big-endian", from_be_bytes, to_be_bytes, get_u16_be, try_get_u16_be, put_u16_be, try_put_u16_be;
            i16, "native byte order", from_ne_bytes, to_ne_bytes, get_i16, try_get_i16, put_i16, try_put_i16;
            i16, "little-endian", from_le_bytes, to_le_bytes, get_i16_le, try_get_i16_le, put_i16_le, try_put_i16_le;
            i16, "big-endian", from_be_bytes, to_be_bytes, get_i16_be, try_get_i16_be, put_i16_be, try_put_i16_be;
            u32, "native byte order", from_ne_bytes, to_ne_bytes, get_u32, try_get_u32, put_u32, try_put_u32;
            u32, "little-endian", from_le_bytes, to_le_bytes, get_u32_le, try_get_u32_le, put_u32_le, try_put_u32_le;
            u32, "big-endian", from_be_bytes, to_be_bytes, get_u32_be, try_get_u32_be, put_u32_be, try_put_u32_be;
            i32, "native byte order", from_ne_bytes, to_ne_bytes, get_i32, try_get_i32, put_i32, try_put_i32;
            i32, "little-endian", from_le_bytes, to_le_bytes, get_i32_le, try_get_i32_le, put_i32_le, try_put_i32_le;
            i32, "big-endian", from_be_bytes, to_be_bytes, get_i32_be, try_get_i32_be, put_i32_be, try_put_i32_be;
            u64, "native byte order", from_ne_bytes, to_ne_bytes, get_u64, try_get_u64, put_u64, try_put_u64;
            u64, "little-endian", from_le_bytes, to_le_bytes, get_u64_le, try_get_u64_le, put_u64_le, try_put_u64_le;
            u64, "big-endian", from_be_bytes, to_be_bytes, get_u64_be, try_get_u64_be, put_u64_be, try_put_u64_be;
            i64, "native byte order", from_ne_bytes, to_ne_bytes, get_i64, try_get_i64, put_i64, try_put_i64;
            i64, "little-endian", from_le_bytes, to_le_bytes, get_i64_le, try_get_i64_le, put_i64_le, try_put_i64_le;
            i64, "big-endian", from_be_bytes, to_be_bytes, get_i64_be, try_get_i64_be, put_i64_be, try_put_i64_be;
            u128, "native byte order", from_ne_bytes, to_ne_bytes, get_u128, try_get_u128, put_u128, try_put_u128;
            u128, "little-endian", from_le_bytes, to_le_bytes,
                get_u128_le, try_get_u128_le, put_u128_le, try_put_u128_le;
            u128, "big-endian", from_be_bytes, to_be_bytes, get_u128_be, try_get_u128_be, put_u128_be, try_put_u128_be;
            i128, "native byte order", from_ne_bytes, to_ne_bytes, get_i128, try_get_i128, put_i128, try_put_i128;
            i128, "little-endian", from_le_bytes, to_le_bytes,
                get_i128_le, try_get_i128_le, put_i128_le, try_put_i128_le;
            i128, "big-endian", from_be_bytes, to_be_bytes, get_i128_be, try_get_i128_be, put_i128_be, try_put_i128_be;
            f32, "native byte order", from_ne_bytes, to_ne_bytes, get_f32, try_get_f32, put_f32, try_put_f32;
            f32, "little-endian", from_le_bytes, to_le_bytes, get_f32_le, try_get_f32_le, put_f32_le, try_put_f32_le;
            f32, "big-endian", from_be_bytes, to_be_bytes, get_f32_be, try_get_f32_be, put_f32_be, try_put_f32_be;
            f64, "native byte order", from_ne_bytes, to_ne_bytes, get_f64, try_get_f64, put_f64, try_put_f64;
            f64, "little-endian", from_le_bytes, to_le_bytes, get_f64_le, try_get_f64_le, put_f64_le, try_put_f64_le;
            f64, "big-endian", from_be_bytes, to_be_bytes, get_f64_be, try_get_f64_be, put_f64_be, try_put_f64_be;
        }
    };
}

macro_rules! accessors {
    ($($ty:ident, $order:literal, $from:ident, $to:ident,
       $get:ident, $try_get:ident, $put:ident, $try_put:ident;)*) => {
        /// Typed access. Offsets are in bytes and need no alignment; each form is a bounds check and one load or store.
        impl MemorySegment<'_> {
            $(
                #[doc = concat!("Reads the `", stringify!($ty), "` (", $order, ") at byte `offset`. Wait-free.")]
                ///
                /// # Panics
                /// If it is not all inside the segment.
                ///
                /// # Examples
                /// ```
                #[doc = concat!("let bytes = (42 as ", stringify!($ty), ").", stringify!($to), "();")]
                /// let mut segment = forebay::memory::MemorySegment::allocate(32);
                /// segment.put(3, &bytes);
                #[doc = concat!("assert_eq!(segment.", stringify!($get), "(3), 42 as ", stringify!($ty), ");")]
                /// ```
                #[must_use]
                #[inline]
                #[track_caller]
                pub fn $get(&self, offset: usize) -> $ty {
                    or_panic(self.$try_get(offset))
                }

                #[doc = concat!("As [`", stringify!($get), "`](Self::", stringify!($get), "), with an error in place \
                    of a panic. Wait-free.")]
                ///
                /// # Errors
                /// [`OutOfBounds`] if it is not all inside the segment.
                #[inline]
                pub fn $try_get(&self, offset: usize) -> Result<$ty, OutOfBounds> {
                    chunk(self.as_slice(), offset).map($ty::$from)
                }

                #[doc = concat!("Writes a `", stringify!($ty), "` (", $order, ") at byte `offset`. Wait-free.")]
                ///
                /// # Panics
                /// If it is not all inside the segment; nothing is written then.
                ///
                /// # Examples
                /// ```
                #[doc = concat!("let bytes = (42 as ", stringify!($ty), ").", stringify!($to), "();")]
                /// let mut segment = forebay::memory::MemorySegment::allocate(32);
                #[doc = concat!("segment.", stringify!($put), "(3, 42 as ", stringify!($ty), ");")]
                /// assert_eq!(segment.slice(3, bytes.len()).as_slice(), bytes);
                /// ```
                #[inline]
                #[track_caller]
                pub fn $put(&mut self, offset: usize, value: $ty) {
                    or_panic(self.$try_put(offset, value));
                }

                #[doc = concat!("As [`", stringify!($put), "`](Self::", stringify!($put), "), with an error in place \
                    of a panic. Wait-free.")]
                ///
                /// # Errors
                /// [`OutOfBounds`] if it is not all inside the segment; nothing is written then.
                #[inline]
                pub fn $try_put(&mut self, offset: usize, value: $ty) -> Result<(), OutOfBounds> {
                    chunk_mut(self.as_mut_slice(), offset).map(|bytes| *bytes = value.$to())
                }
            )*
        }
    };
}

for_each_accessor!(accessors);

/// Bulk access.
impl MemorySegment<'_> {
    /// Copies the bytes from `offset` on to `target`, as many as `target` has. Wait-free.
    ///
    /// # Panics
    /// If they are not all inside the segment.
    ///
    /// # Examples
    /// ```
    /// let segment = forebay::memory::MemorySegment::from(vec![1, 2, 3, 4]);
    /// let mut two = [0; 2];
    /// segment.get(1, &mut two);
    /// assert_eq!(two, [2, 3]);
    /// ```
    #[inline]
    #[track_caller]
    pub fn get(&self, offset: usize, target: &mut [u8]) {
        or_panic(self.try_get(offset, target));
    }

    /// As [`get`](Self::get), with an error in place of a panic. Wait-free.
    ///
    /// # Errors
    /// [`OutOfBounds`] if the bytes are not all inside the segment; `target` is as it was then.
    #[inline]
    pub fn try_get(&self, offset: usize, target: &mut [u8]) -> Result<(), OutOfBounds> {
        part(self.as_slice(), offset, target.len()).map(|bytes| target.copy_from_slice(bytes))
    }

    /// Copies all of `source` into the segment, from `offset` on. Wait-free.
    ///
    /// # Panics
    /// If it does not fit; nothing is written then.
    ///
    /// # Examples
    /// ```
    /// let mut segment = forebay::memory::MemorySegment::allocate(4);
    /// segment.put(1, &[8, 9]);
    /// assert_eq!(segment.as_slice(), [0, 8, 9, 0]);
    /// ```
    #[inline]
    #[track_caller]
    pub fn put(&mut self, offset: usize, source: &[u8]) {
        or_panic(self.try_put(offset, source));
    }

    /// As [`put`](Self::put), with an error in place of a panic. Wait-free.
    ///
    /// # Errors
    /// [`OutOfBounds`] if `source` does not fit; nothing is written then.
    #[inline]
    pub fn try_put(&mut self, offset: usize, source: &[u8]) -> Result<(), OutOfBounds> {
        part_mut(self.as_mut_slice(), offset, source.len()).map(|bytes| bytes.copy_from_slice(source))
    }

    /// Sets the `len` bytes from `offset` on to `value`. Wait-free.
    ///
    /// # Panics
    /// If they are not all inside the segment; nothing is written then.
    ///
    /// # Examples
    /// ```
    /// let mut segment = forebay::memory::MemorySegment::allocate(4);
    /// segment.fill(1, 2, 0xff);
    /// assert_eq!(segment.as_slice(), [0, 0xff, 0xff, 0]);
    /// ```
    #[inline]
    #[track_caller]
    pub fn fill(&mut self, offset: usize, len: usize, value: u8) {
        or_panic(self.try_fill(offset, len, value));
    }

    /// As [`fill`](Self::fill), with an error in place of a panic. Wait-free.
    ///
    /// # Errors
    /// [`OutOfBounds`] if the bytes are not all inside the segment; nothing is written then.
    #[inline]
    pub fn try_fill(&mut self, offset: usize, len: usize, value: u8) -> Result<(), OutOfBounds> {
        part_mut(self.as_mut_slice(), offset, len).map(|bytes| bytes.fill(value))
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use proptest::prelude::*;

    use super::*;
    use crate::memory::testing::{cases, fits, offsets, on_each_backing};

    fn contents() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..64)
    }

    /// One property per accessor family, named after its read.
    macro_rules! accessor_tests {
        ($($ty:ident, $order:literal, $from:ident, $to:ident,
           $get:ident, $try_get:ident, $put:ident, $try_put:ident;)*) => {
            $(
                proptest! {
                    #![proptest_config(cases())]

                    #[test]
                    fn $get(contents in contents(), offset in offsets(), raw: [u8; size_of::<$ty>()]) {
                        let len = size_of::<$ty>();
                        let value = $ty::from_ne_bytes(raw);
                        // The expected bytes follow from the name, not from the table's conversions.
                        let mut bytes = raw;
                        let names = [stringify!($get), stringify!($try_get), stringify!($put), stringify!($try_put)];
                        let order = match stringify!($get).rsplit_once('_').unwrap().1 {
                            "be" => "_be",
                            "le" => "_le",
                            _ => "",
                        };
                        let verbs = ["get", "try_get", "put", "try_put"];
                        for (name, verb) in names.iter().zip(verbs) {
                            assert_eq!(*name, format!("{verb}_{}{order}", stringify!($ty)));
                        }
                        if (order == "_be" && cfg!(target_endian = "little"))
                            || (order == "_le" && cfg!(target_endian = "big"))
                        {
                            bytes.reverse();
                        }
                        on_each_backing(&contents, |segment| {
                            let refused = OutOfBounds { offset, len, segment_len: contents.len() };
                            if fits(&contents, offset, len) {
                                let mut expected = contents.clone();
                                expected[offset..offset + len].copy_from_slice(&bytes);
                                segment.$put(offset, value);
                                assert_eq!(segment.as_slice(), expected);
                                assert_eq!(segment.$get(offset).to_ne_bytes(), raw);
                                assert_eq!(segment.$try_get(offset).unwrap().to_ne_bytes(), raw);
                                segment.as_mut_slice().copy_from_slice(&contents);
                                assert_eq!(segment.$try_put(offset, value), Ok(()));
                                assert_eq!(segment.as_slice(), expected);
                            } else {
                                assert_eq!(segment.$try_get(offset).unwrap_err(), refused);
                                assert_eq!(segment.$try_put(offset, value).unwrap_err(), refused);
                                assert_eq!(segment.as_slice(), contents);
                            }
                        });
                    }
                }
            )*

            #[test]
            #[cfg_attr(miri, ignore = "64 backtraces take Miri two minutes; other tests show it a panic")]
            fn every_typed_access_past_the_end_panics_and_writes_nothing() {
                let mut panics = Vec::new();
                $(
                    let mut segment = MemorySegment::from(vec![7; 32]);
                    let offset = 33 - size_of::<$ty>();
                    panics.push(catch_unwind(|| { let _ = MemorySegment::allocate(32).$get(offset); }));
                    panics.push(catch_unwind(AssertUnwindSafe(|| segment.$put(offset, 0 as $ty))));
                    assert_eq!(segment.as_slice(), [7; 32]);
                )*
                for panic in panics {
                    let text = *panic.unwrap_err().downcast::<String>().unwrap();
                    assert!(text.ends_with("do not fit a segment of 32 bytes"), "{text}");
                }
            }
        };
    }

    for_each_accessor!(accessor_tests);

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn bulk_get_copies_the_bytes_of_a_plain_slice(contents in contents(), offset in offsets(), len in 0_usize..72) {
            on_each_backing(&contents, |segment| {
                let mut target = vec![0xA5; len];
                if fits(&contents, offset, len) {
                    segment.get(offset, &mut target);
                    assert_eq!(target, contents[offset..offset + len]);
                    target.fill(0);
                    assert_eq!(segment.try_get(offset, &mut target), Ok(()));
                    assert_eq!(target, contents[offset..offset + len]);
                } else {
                    let refused = OutOfBounds { offset, len, segment_len: contents.len() };
                    assert_eq!(segment.try_get(offset, &mut target), Err(refused));
                    assert_eq!(target, vec![0xA5; len]);
                }
            });
        }

        #[test]
        fn bulk_put_writes_what_a_plain_slice_would_hold(
            contents in contents(), offset in offsets(), source in contents(),
        ) {
            on_each_backing(&contents, |segment| {
                let mut expected = contents.clone();
                if fits(&contents, offset, source.len()) {
                    expected[offset..offset + source.len()].copy_from_slice(&source);
                    segment.put(offset, &source);
                    assert_eq!(segment.as_slice(), expected);
                    segment.as_mut_slice().copy_from_slice(&contents);
                    assert_eq!(segment.try_put(offset, &source), Ok(()));
                } else {
                    let refused = OutOfBounds { offset, len: source.len(), segment_len: contents.len() };
                    assert_eq!(segment.try_put(offset, &source), Err(refused));
                }
                assert_eq!(segment.as_slice(), expected);
            });
        }

        #[test]
        fn fill_sets_its_range_and_nothing_else(
            contents in contents(), offset in offsets(), len in offsets(), value: u8,
        ) {
            on_each_backing(&contents, |segment| {
                let mut expected = contents.clone();
                if fits(&contents, offset, len) {
                    expected[offset..offset + len].fill(value);
                    segment.fill(offset, len, value);
                    assert_eq!(segment.as_slice(), expected);
                    segment.as_mut_slice().copy_from_slice(&contents);
                    assert_eq!(segment.try_fill(offset, len, value), Ok(()));
                } else {
                    let refused = OutOfBounds { offset, len, segment_len: contents.len() };
                    assert_eq!(segment.try_fill(offset, len, value), Err(refused));
                }
                assert_eq!(segment.as_slice(), expected);
            });
        }
    }
}
