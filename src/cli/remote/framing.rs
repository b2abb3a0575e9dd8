//! What a record is, and the row it becomes.

use forebay::record::{DeserializeRecord, StreamElement, StreamRecord, StringValue};

/// How records stand for rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A record is a row, its line ending included.
    Rows,
    /// As Flink writes them: stream elements, of which the records are rows and the others are passed over.
    Elements(ValueType),
}

/// What Flink's serializer has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueType {
    String,
    Long,
    /// `byte[]`, taken for text.
    Bytes,
}

impl Framing {
    const ALL: [(&str, Self); 4] = [
        ("rows", Self::Rows),
        ("elements:string", Self::Elements(ValueType::String)),
        ("elements:long", Self::Elements(ValueType::Long)),
        ("elements:bytes", Self::Elements(ValueType::Bytes)),
    ];

    /// As in a ticket.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, framing)| *framing == self).map_or("", |(name, _)| name)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(other, _)| *other == name).map(|(_, framing)| *framing)
    }

    /// Hands the row that `record` stands for to `put`, if it stands for one.
    pub(crate) fn row<E: Into<anyhow::Error>>(
        self,
        record: &[u8],
        put: impl FnOnce(&[u8]) -> Result<(), E>,
    ) -> anyhow::Result<()> {
        let text = match self {
            Self::Rows => return put(record).map_err(Into::into),
            Self::Elements(ValueType::String) => value::<StringValue<'_>>(record)?.map(|value| value.0.into_owned()),
            Self::Elements(ValueType::Long) => value::<i64>(record)?.map(|value| value.to_string()),
            Self::Elements(ValueType::Bytes) => {
                // `byte[]` has a length of its own in front.
                let bytes = value::<&[u8]>(record)?.map(|value| value.get(4..).unwrap_or_default().to_vec());
                let Some(mut line) = bytes else { return Ok(()) };
                line.push(b'\n');
                return put(&line).map_err(Into::into);
            }
        };
        let Some(line) = text else { return Ok(()) };
        put((line + "\n").as_bytes()).map_err(Into::into)
    }
}

fn value<'a, V: DeserializeRecord<'a>>(record: &'a [u8]) -> anyhow::Result<Option<V>> {
    Ok(match StreamElement::<V>::deserialize(record)? {
        StreamElement::Record(StreamRecord { value, .. }) => Some(value),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(framing: Framing, record: &[u8]) -> Vec<u8> {
        let mut rows = Vec::new();
        framing
            .row(record, |row| {
                rows.extend_from_slice(row);
                Ok::<(), anyhow::Error>(())
            })
            .unwrap();
        rows
    }

    #[test]
    fn records_of_flink_become_lines() {
        let elements = Framing::Elements;
        assert_eq!(rows(Framing::Rows, b"a,b\r\n"), b"a,b\r\n");
        assert_eq!(rows(elements(ValueType::String), b"\x01\x03ab"), b"ab\n");
        assert_eq!(rows(elements(ValueType::Long), b"\x00\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x07"), b"7\n");
        assert_eq!(rows(elements(ValueType::Bytes), b"\x01\0\0\0\x02ab"), b"ab\n");
        assert_eq!(rows(elements(ValueType::Long), b"\x02\0\0\0\0\0\0\0\x07"), b"", "a watermark is no row");
        assert!(elements(ValueType::Long).row(b"\x01\0", |_| Ok::<(), anyhow::Error>(())).is_err());
    }

    #[test]
    fn names_are_found_again() {
        for (name, framing) in Framing::ALL {
            assert_eq!((framing.name(), Framing::from_name(name)), (name, Some(framing)));
        }
        assert_eq!(Framing::from_name("lines"), None);
    }
}
