//! The names of the columns: which of them is the key, and whether two files have the same.

use csv_core::{ReadFieldResult, ReaderBuilder, Terminator};

use super::rows::BOM;

/// A file's first row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    raw: Vec<u8>,
    names: Vec<Vec<u8>>,
}

/// Why a column cannot be found. Each says how to name one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ColumnError {
    #[error("there is no column `{wanted}`; the columns are: {columns}")]
    Unknown { wanted: String, columns: String },
    #[error("the name `{wanted}` stands for the columns {numbers} alike: give the column's number instead")]
    Ambiguous { wanted: String, numbers: String },
    #[error("there is no column {wanted}; the first row has {columns}")]
    OutOfRange { wanted: String, columns: usize },
}

impl Header {
    /// Reads the names out of a whole row, its line ending included.
    pub(crate) fn new(raw: &[u8], delimiter: u8) -> Self {
        let mut parser = ReaderBuilder::new().delimiter(delimiter).terminator(Terminator::Any(b'\n')).build();
        let mut rest = content(raw);
        let mut unescaped = vec![0; rest.len() + 1];
        let mut names = Vec::new();
        let mut len = 0;
        loop {
            // The last call's input is empty, which ends the last field.
            let (result, used, written) = parser.read_field(rest, &mut unescaped[len..]);
            rest = &rest[used..];
            len += written;
            if let ReadFieldResult::Field { record_end } = result {
                names.push(unescaped[..len].to_vec());
                len = 0;
                if record_end {
                    return Self { raw: raw.to_vec(), names };
                }
            }
        }
    }

    /// The row's own bytes, with byte-order mark and line ending.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// How many columns there are; at least 1.
    pub(crate) fn columns(&self) -> usize {
        self.names.len()
    }

    /// The index of the column called `wanted`; if no column is, and `wanted` is a number, of the column it counts to.
    ///
    /// # Errors
    /// [`ColumnError::Unknown`], [`ColumnError::Ambiguous`].
    pub(crate) fn find(&self, wanted: &str) -> Result<usize, ColumnError> {
        let called: Vec<usize> =
            (0..self.names.len()).filter(|&index| self.names[index] == wanted.as_bytes()).collect();
        match called[..] {
            [index] => Ok(index),
            [] => number(wanted, self.columns()).ok_or_else(|| {
                let columns: Vec<_> = self.names.iter().map(|name| String::from_utf8_lossy(name)).collect();
                ColumnError::Unknown { wanted: wanted.into(), columns: columns.join(", ") }
            }),
            _ => {
                let numbers: Vec<_> = called.iter().map(|index| (index + 1).to_string()).collect();
                Err(ColumnError::Ambiguous { wanted: wanted.into(), numbers: numbers.join(" and ") })
            }
        }
    }

    /// What makes this header another than `other`'s, if anything but line ending and byte-order mark does.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        if content(&self.raw) == content(&other.raw) {
            return None;
        }
        let pairs = self.names.iter().zip(&other.names);
        Some(if let Some((index, (ours, theirs))) = pairs.enumerate().find(|(_, (ours, theirs))| ours != theirs) {
            let (ours, theirs) = (String::from_utf8_lossy(ours), String::from_utf8_lossy(theirs));
            format!("column {} is `{ours}` in the one and `{theirs}` in the other", index + 1)
        } else if self.columns() == other.columns() {
            "the names are the same, but not their quotes".into()
        } else {
            format!("the one has {} columns, the other {}", self.columns(), other.columns())
        })
    }
}

/// The index of the column that `wanted` counts to in files without a header.
///
/// # Errors
/// [`ColumnError::OutOfRange`].
pub(crate) fn numbered(wanted: &str, columns: usize) -> Result<usize, ColumnError> {
    number(wanted, columns).ok_or_else(|| ColumnError::OutOfRange { wanted: wanted.into(), columns })
}

fn number(wanted: &str, columns: usize) -> Option<usize> {
    wanted.parse().ok().filter(|number| (1..=columns).contains(number)).map(|number: usize| number - 1)
}

/// `raw` without byte-order mark and line ending.
fn content(raw: &[u8]) -> &[u8] {
    let raw = raw.strip_prefix(BOM).unwrap_or(raw);
    raw.strip_suffix(b"\n").map_or(raw, |line| line.strip_suffix(b"\r").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(raw: &str) -> Header {
        Header::new(raw.as_bytes(), b',')
    }

    #[test]
    fn names_are_unescaped_and_raw_is_kept() {
        let raw = "\u{feff}year,\"a \"\"b\"\", c\",\r\n";
        let header = header(raw);
        assert_eq!(header.raw(), raw.as_bytes());
        assert_eq!(header.names, [&b"year"[..], b"a \"b\", c", b""]);
    }

    #[test]
    fn one_column_and_one_byte_are_headers() {
        assert_eq!(header("a\n").names, [b"a"]);
        assert_eq!(header(",\n").names, [b"", b""]);
        assert_eq!(header("\"\"\n").names, [b""]);
    }

    #[test]
    fn columns_are_found_by_name_then_by_number() {
        let header = header("year,3,carrier,carrier\n");
        assert_eq!(header.find("year"), Ok(0));
        assert_eq!(header.find("3"), Ok(1), "a name, although it is a number too");
        assert_eq!(header.find("4"), Ok(3));
        let unknown = header.find("Year").unwrap_err().to_string();
        assert_eq!(unknown, "there is no column `Year`; the columns are: year, 3, carrier, carrier");
        for outside in ["0", "5", "-1", ""] {
            assert!(matches!(header.find(outside), Err(ColumnError::Unknown { .. })), "{outside}");
        }
        let ambiguous = header.find("carrier").unwrap_err().to_string();
        assert!(ambiguous.contains("3 and 4"), "{ambiguous}");
    }

    #[test]
    fn without_names_only_numbers_count() {
        assert_eq!(numbered("2", 2), Ok(1));
        assert_eq!(numbered("3", 2).unwrap_err().to_string(), "there is no column 3; the first row has 2");
        assert!(numbered("0", 2).is_err() && numbered("carrier", 2).is_err());
    }

    #[test]
    fn headers_differ_by_content_only() {
        let one = header("\u{feff}a,b\r\n");
        assert_eq!(one.difference(&header("a,b\n")), None);
        assert_eq!(one.difference(&header("a,c\n")).unwrap(), "column 2 is `b` in the one and `c` in the other");
        assert_eq!(one.difference(&header("a\n")).unwrap(), "the one has 2 columns, the other 1");
        assert_eq!(one.difference(&header("\"a\",b\n")).unwrap(), "the names are the same, but not their quotes");
    }
}
