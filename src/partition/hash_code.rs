//! Java's hash codes, from which key groups are computed.

/// A key whose hash code in Java is known, so that it goes where Flink's `keyBy` would send it.
///
/// | here | in Java |
/// |---|---|
/// | `i8`, `i16`, `i32`, `i64` | `Byte`, `Short`, `Integer`, `Long` |
/// | `f32`, `f64` | `Float`, `Double` |
/// | `bool` | `Boolean` |
/// | `str`, `String` | `String` |
/// | `[T]`, `Vec<T>` | `List`, and arrays by `Arrays.hashCode` |
/// | tuples of up to 6 | Flink's `Tuple1`, `Tuple2`, … |
/// | `Option<T>` | `T`, or a null |
///
/// # Examples
/// ```
/// use forebay::partition::JavaHash;
/// assert_eq!("hello".java_hash_code(), 99_162_322);
/// assert_eq!(("UA", 1545).java_hash_code(), 31 * "UA".java_hash_code() + 1545);
/// ```
///
/// # Source
/// The `hashCode` methods of the classes named.
pub trait JavaHash {
    /// What `hashCode()` returns. Wait-free.
    fn java_hash_code(&self) -> i32;
}

macro_rules! hash_codes {
    ($($ty:ty, $value:ident => $hash:expr;)*) => {$(
        impl JavaHash for $ty {
            #[inline]
            fn java_hash_code(&self) -> i32 {
                let $value = self;
                $hash
            }
        }
    )*};
}

hash_codes! {
    i8, value => i32::from(*value);
    i16, value => i32::from(*value);
    i32, value => *value;
    i64, value => (*value ^ (*value as u64 >> 32) as i64) as i32;
    // Java's `floatToIntBits` and `doubleToLongBits` know one NaN.
    f32, value => if value.is_nan() { 0x7FC0_0000 } else { value.to_bits() as i32 };
    f64, value => if value.is_nan() { 0x7FF8_0000 } else { (value.to_bits() as i64).java_hash_code() };
    bool, value => if *value { 1231 } else { 1237 };
    str, value => java_string_hash(value.as_bytes());
    String, value => java_string_hash(value.as_bytes());
}

impl<T: JavaHash + ?Sized> JavaHash for &T {
    #[inline]
    fn java_hash_code(&self) -> i32 {
        (**self).java_hash_code()
    }
}

impl<T: JavaHash> JavaHash for Option<T> {
    #[inline]
    fn java_hash_code(&self) -> i32 {
        self.as_ref().map_or(0, T::java_hash_code)
    }
}

impl<T: JavaHash> JavaHash for [T] {
    fn java_hash_code(&self) -> i32 {
        self.iter().fold(1, |hash: i32, item| hash.wrapping_mul(31).wrapping_add(item.java_hash_code()))
    }
}

impl<T: JavaHash> JavaHash for Vec<T> {
    fn java_hash_code(&self) -> i32 {
        self[..].java_hash_code()
    }
}

macro_rules! tuples {
    ($first:ident 0 $($ty:ident $index:tt)*) => {
        impl<$first: JavaHash, $($ty: JavaHash),*> JavaHash for ($first, $($ty,)*) {
            #[inline]
            fn java_hash_code(&self) -> i32 {
                let hash = self.0.java_hash_code();
                $(let hash = hash.wrapping_mul(31).wrapping_add(self.$index.java_hash_code());)*
                hash
            }
        }
    };
}

tuples! { A 0 }
tuples! { A 0 B 1 }
tuples! { A 0 B 1 C 2 }
tuples! { A 0 B 1 C 2 D 3 }
tuples! { A 0 B 1 C 2 D 3 E 4 }
tuples! { A 0 B 1 C 2 D 3 E 4 F 5 }

/// Java's `String.hashCode` of a text in UTF-8. Bytes that are no UTF-8 are hashed one by one instead, as by
/// [`java_bytes_hash`].
///
/// # Examples
/// ```
/// use forebay::partition::java_string_hash;
/// assert_eq!(java_string_hash(b"hello"), 99_162_322); // "hello".hashCode()
/// ```
#[must_use]
pub fn java_string_hash(text: &[u8]) -> i32 {
    if text.is_ascii() {
        return text.iter().fold(0, |hash: i32, &byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    }
    match std::str::from_utf8(text) {
        Ok(text) => text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit))),
        Err(_) => java_bytes_hash(text),
    }
}

/// Java's `Arrays.hashCode(byte[])`.
///
/// # Examples
/// ```
/// use forebay::partition::java_bytes_hash;
/// assert_eq!(java_bytes_hash(&[1, 2]), 994); // Arrays.hashCode(new byte[] {1, 2})
/// ```
#[must_use]
pub fn java_bytes_hash(bytes: &[u8]) -> i32 {
    bytes.iter().fold(1, |hash: i32, &byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte as i8)))
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    #[test]
    fn text_outside_ascii_is_hashed_as_java_does() {
        assert_eq!(java_string_hash("ä".as_bytes()), 0xE4);
        assert_eq!(java_string_hash("😀".as_bytes()), 0xD83D * 31 + 0xDE00);
        assert_eq!(java_string_hash(b"\xFF"), java_bytes_hash(b"\xFF"));
        assert_eq!(java_bytes_hash(b"\xFF"), 31 - 1);
    }

    #[test]
    fn other_keys_are_hashed_as_java_does() {
        assert_eq!([1_i8, 2].java_hash_code(), java_bytes_hash(&[1, 2]));
        assert_eq!(vec!["a", "b"].java_hash_code(), (31 + 97) * 31 + 98);
        assert_eq!((Some(7_i16), None::<i32>).java_hash_code(), 7 * 31);
        assert_eq!((0.0_f32).java_hash_code(), 0);
        assert_eq!((-0.0_f32).java_hash_code(), i32::MIN);
        assert_eq!((-f64::NAN).java_hash_code(), f64::NAN.java_hash_code());
        assert_eq!(false.java_hash_code(), 1237);
    }
}
