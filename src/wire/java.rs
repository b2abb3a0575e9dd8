//! Exceptions in Java's serialization: enough to read one, and to write the two that a producer needs.
//!
//! ```text
//!  ac ed 00 05 │ 73 72 name, fields, super classes … 78 70 │ the fields' values, top class first │ 78 │ …
//!                                                            detailMessage, cause, stackTrace
//! ```
//!
//! An exception drags along whatever its class holds, so the reader walks the whole grammar, and keeps what is worth
//! telling. It is given garbage as well: a step costs a byte of input or one of a limited number of steps, and depth is
//! limited too.
//!
//! # Source
//! Java Object Serialization Specification, chapter 6.

use std::{collections::VecDeque, fmt};

use super::{ResultPartitionId, fields::Fields, utf8};

/// What a Java exception says: its class, its message, and the exception that caused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JavaException {
    /// The name of its class.
    pub class: String,
    /// What it says, if anything.
    pub message: Option<String>,
    /// What has caused it, if that is known.
    pub cause: Option<Box<JavaException>>,
}

impl fmt::Display for JavaException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.class)?;
        self.message.iter().try_for_each(|message| write!(f, ": {message}"))?;
        self.cause.iter().try_for_each(|cause| write!(f, "; caused by {cause}"))
    }
}

/// Objects inside objects; an exception's cause is four further in than the exception.
const MAX_DEPTH: usize = 256;

/// The exception at the start of these bytes, and how many it takes. `None` if they are something else, or an exception
/// whose class writes itself in a way of its own.
pub(super) fn read(bytes: &[u8]) -> Option<(JavaException, usize)> {
    let mut reader = Reader {
        fields: Fields::new(bytes, 0),
        handles: Vec::new(),
        classes: Vec::new(),
        depth: 0,
        steps: 4 * bytes.len(),
    };
    if reader.fields.i32("stream header").ok()? as u32 != HEADER {
        return None;
    }
    let Value::Exception(exception) = reader.content()? else { return None };
    Some((exception, bytes.len() - reader.fields.rest().len()))
}

/// Magic number and version.
const HEADER: u32 = 0xACED_0005;

struct Reader<'a> {
    fields: Fields<'a>,
    handles: Vec<Handle>,
    classes: Vec<Class>,
    depth: usize,
    /// What may still be done without reading a byte.
    steps: usize,
}

enum Handle {
    Class(usize),
    Text(String),
    Other,
}

struct Class {
    name: String,
    flags: u8,
    fields: Vec<(u8, String)>,
    above: Option<usize>,
}

enum Value {
    Text(String),
    Exception(JavaException),
    Class(usize),
    /// The end of what a class wrote on its own.
    End,
    Other,
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        self.fields.u8("").ok()
    }

    fn text(&mut self) -> Option<String> {
        let len = self.fields.u16("").ok()?;
        utf8::decode(self.fields.slice("", usize::from(len)).ok()?, "", 0).ok()
    }

    fn step(&mut self) -> Option<()> {
        self.steps = self.steps.checked_sub(1)?;
        Some(())
    }

    /// Anything: each kind begins with a byte of its own.
    fn content(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let value = match self.byte()? {
            0x70 => Value::Other, // null
            0x71 => self.reference()?,
            0x72 => self.class()?,
            0x73 => self.object()?,
            0x74 => {
                let text = self.text()?;
                self.handles.push(Handle::Text(text.clone()));
                Value::Text(text)
            }
            0x75 => self.array()?,
            0x77 => {
                let len = self.byte()?;
                self.fields.slice("", usize::from(len)).ok()?;
                Value::Other
            }
            0x78 => Value::End,
            0x7A => {
                let len = self.fields.count("").ok()?;
                self.fields.slice("", len as usize).ok()?;
                Value::Other
            }
            0x7E => {
                self.class_of()?; // an enumeration
                self.handles.push(Handle::Other);
                self.content()?; // the constant's name
                Value::Other
            }
            _ => return None,
        };
        self.depth -= 1;
        Some(value)
    }

    fn reference(&mut self) -> Option<Value> {
        let handle = self.fields.i32("").ok()?.checked_sub(0x7E_0000)?;
        Some(match self.handles.get(usize::try_from(handle).ok()?)? {
            Handle::Class(class) => Value::Class(*class),
            Handle::Text(text) => {
                // A copy of a text costs as many steps.
                let text = text.clone();
                self.steps = self.steps.checked_sub(text.len())?;
                Value::Text(text)
            }
            Handle::Other => Value::Other,
        })
    }

    /// Behind its 0x72.
    fn class(&mut self) -> Option<Value> {
        let name = self.text()?;
        self.fields.i64("serial version").ok()?;
        let index = self.classes.len();
        self.handles.push(Handle::Class(index));
        let flags = self.byte()?;
        self.classes.push(Class { name, flags, fields: Vec::new(), above: None });
        for _ in 0..self.fields.u16("").ok()? {
            let kind = self.byte()?;
            let name = self.text()?;
            if matches!(kind, b'L' | b'[') {
                self.content()?; // the name of the field's class
            }
            self.classes[index].fields.push((kind, name));
        }
        self.annotations()?;
        self.classes[index].above = match self.content()? {
            Value::Class(above) => Some(above),
            _ => None,
        };
        Some(Value::Class(index))
    }

    fn annotations(&mut self) -> Option<()> {
        while !matches!(self.content()?, Value::End) {}
        Some(())
    }

    fn class_of(&mut self) -> Option<usize> {
        match self.content()? {
            Value::Class(class) => Some(class),
            _ => None,
        }
    }

    fn object(&mut self) -> Option<Value> {
        let class = self.class_of()?;
        self.handles.push(Handle::Other);
        let mut chain = VecDeque::new();
        let mut next = Some(class);
        while let Some(index) = next {
            self.step()?;
            chain.push_front(index);
            next = self.classes[index].above;
        }
        let mut throwable = None;
        for index in chain {
            let Class { flags, ref name, .. } = self.classes[index];
            let is_throwable = name == "java.lang.Throwable";
            let (serializable, externalizable) = (flags & 2 != 0, flags & 4 != 0);
            if externalizable && flags & 8 == 0 {
                return None; // in a format that only the class knows
            }
            let (mut message, mut cause) = (None, None);
            for at in 0..if serializable { self.classes[index].fields.len() } else { 0 } {
                let kind = self.classes[index].fields[at].0;
                let value = self.value(kind)?;
                match (self.classes[index].fields[at].1.as_str(), value) {
                    ("detailMessage", Value::Text(text)) => message = Some(text),
                    ("cause", Value::Exception(exception)) => cause = Some(Box::new(exception)),
                    _ => {}
                }
            }
            if externalizable || flags & 1 != 0 {
                self.annotations()?;
            }
            if is_throwable {
                throwable = Some((message, cause));
            }
        }
        let Some((message, cause)) = throwable else { return Some(Value::Other) };
        let class = self.classes[class].name.clone();
        self.steps = self.steps.checked_sub(class.len())?; // as of a text
        Some(Value::Exception(JavaException { class, message, cause }))
    }

    fn array(&mut self) -> Option<Value> {
        let class = self.class_of()?;
        self.handles.push(Handle::Other);
        let kind = *self.classes[class].name.as_bytes().get(1)?;
        for _ in 0..self.fields.count("").ok()? {
            self.value(kind)?; // takes a byte at least
        }
        Some(Value::Other)
    }

    fn value(&mut self, kind: u8) -> Option<Value> {
        let len = match kind {
            b'B' | b'Z' => 1,
            b'C' | b'S' => 2,
            b'F' | b'I' => 4,
            b'D' | b'J' => 8,
            b'L' | b'[' => return self.content(),
            _ => return None,
        };
        self.fields.slice("", len).ok()?;
        Some(Value::Other)
    }
}

/// Writes what is known to begin, at that place, with these handles.
struct Writer(Vec<u8>);

impl Writer {
    fn exception() -> Self {
        let mut writer = Self(HEADER.to_be_bytes().to_vec());
        writer.0.push(0x73);
        writer
    }

    /// Cut so that it fits its length field.
    fn text(&mut self, text: &str) {
        let mut end = text.len().min(20_000); // a byte of UTF-8 is at most 3 of Java's
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        utf8::encode(&text[..end], "text", &mut self.0).expect("at most 60000 bytes");
    }

    /// A class: name, serial version, flags, fields with the names of their classes.
    fn class(&mut self, name: &str, version: u64, flags: u8, fields: &[(u8, &str, &str)]) {
        self.0.push(0x72);
        self.text(name);
        self.0.extend_from_slice(&version.to_be_bytes());
        self.0.push(flags);
        self.0.extend_from_slice(&(fields.len() as u16).to_be_bytes());
        for (kind, name, class) in fields {
            self.0.push(*kind);
            self.text(name);
            if !class.is_empty() {
                self.0.push(0x74);
                self.text(class);
            }
        }
        self.0.push(0x78);
    }

    fn reference(&mut self, handle: u8) {
        self.0.extend_from_slice(&[0x71, 0, 0x7E, 0, handle]);
    }

    /// `IOException` and what is above it.
    fn io_exception_classes(&mut self) {
        self.class("java.io.IOException", 0x6C80_7364_6525_F0AB, 2, &[]);
        self.class("java.lang.Exception", 0xD0FD_1F3E_1A3B_1CC4, 2, &[]);
        let fields = [
            (b'L', "cause", "Ljava/lang/Throwable;"),
            (b'L', "detailMessage", "Ljava/lang/String;"),
            (b'[', "stackTrace", "[Ljava/lang/StackTraceElement;"),
            (b'L', "suppressedExceptions", "Ljava/util/List;"),
        ];
        self.class("java.lang.Throwable", 0xD5C6_3527_3977_B8CB, 3, &fields);
        self.0.push(0x70);
    }

    /// The values of a `Throwable`'s fields behind the cause: no stack, nothing suppressed.
    fn message_and_no_stack(&mut self, message: &str) {
        self.0.push(0x74);
        self.text(message);
        self.0.push(0x75);
        self.class("[Ljava.lang.StackTraceElement;", 0x0246_2A3C_3CFD_2239, 2, &[]);
        self.0.extend_from_slice(&[0x70, 0, 0, 0, 0, 0x73]);
        self.class("java.util.Collections$EmptyList", 0x7AB8_17B4_3CA7_9EDE, 2, &[]);
        self.0.extend_from_slice(&[0x70, 0x78]);
    }
}

/// A `java.io.IOException` that says `message`.
pub(super) fn io_exception(message: &str) -> Vec<u8> {
    let mut writer = Writer::exception();
    writer.io_exception_classes();
    writer.reference(7); // its own cause: none
    writer.message_and_no_stack(message);
    writer.0
}

/// Flink's class for "not there, ask again".
pub(super) const PARTITION_NOT_FOUND: &str = "org.apache.flink.runtime.io.network.partition.PartitionNotFoundException";

/// Flink's `PartitionNotFoundException`, which holds the id.
pub(super) fn partition_not_found(id: &ResultPartitionId) -> Vec<u8> {
    const RUNTIME: &str = "org.apache.flink.runtime.";
    let name = |class: &str| format!("{RUNTIME}{class}");
    let field = |class: &str| format!("L{};", name(class).replace('.', "/"));
    let (partition, producer) = (&id.partition, &id.producer);
    let message = format!(
        "Partition {}#{}@{}_{}_{}_{} not found.",
        partition.data_set,
        partition.partition,
        producer.execution_graph,
        producer.vertex.job_vertex,
        producer.vertex.subtask,
        producer.attempt
    );
    let mut writer = Writer::exception();
    let result_partition_id = field("io.network.partition.ResultPartitionID");
    writer.class(PARTITION_NOT_FOUND, 0, 2, &[]);
    let fields = [(b'L', "partitionId", &*result_partition_id)];
    writer.class(&name("io.network.partition.PartitionException"), 0, 2, &fields);
    writer.io_exception_classes();
    writer.0.push(0x70); // no cause
    writer.message_and_no_stack(&message);

    writer.0.push(0x73);
    let fields = [
        (b'L', "partitionId", &*field("jobgraph.IntermediateResultPartitionID")),
        (b'L', "producerId", &*field("executiongraph.ExecutionAttemptID")),
    ];
    writer.class(&name("io.network.partition.ResultPartitionID"), 0xF379_9E20_E45A_9DCE, 2, &fields);
    writer.0.extend_from_slice(&[0x70, 0x73]);
    let fields =
        [(b'I', "partitionNum", ""), (b'L', "intermediateDataSetID", &*field("jobgraph.IntermediateDataSetID"))];
    writer.class(&name("jobgraph.IntermediateResultPartitionID"), 1, 2, &fields);
    writer.0.push(0x70);
    writer.0.extend_from_slice(&partition.partition.to_be_bytes());
    writer.0.push(0x73);
    writer.class(&name("jobgraph.IntermediateDataSetID"), 1, 2, &[]);
    let fields = [(b'J', "lowerPart", ""), (b'J', "upperPart", "")];
    writer.class("org.apache.flink.util.AbstractID", 1, 2, &fields);
    let abstract_id = 0x18;
    writer.0.push(0x70);
    writer.0.extend_from_slice(&partition.data_set.0);

    writer.0.push(0x73);
    let fields = [
        (b'I', "attemptNumber", ""),
        (b'L', "executionGraphId", &*field("executiongraph.ExecutionGraphID")),
        (b'L', "executionVertexId", &*field("scheduler.strategy.ExecutionVertexID")),
    ];
    writer.class(&name("executiongraph.ExecutionAttemptID"), 1, 2, &fields);
    writer.0.push(0x70);
    writer.0.extend_from_slice(&producer.attempt.to_be_bytes());
    writer.0.push(0x73);
    writer.class(&name("executiongraph.ExecutionGraphID"), 1, 2, &[]);
    writer.reference(abstract_id);
    writer.0.extend_from_slice(&producer.execution_graph.0);
    writer.0.push(0x73);
    let fields = [(b'I', "subtaskIndex", ""), (b'L', "jobVertexId", &*field("jobgraph.JobVertexID"))];
    writer.class(&name("scheduler.strategy.ExecutionVertexID"), 1, 2, &fields);
    writer.0.push(0x70);
    writer.0.extend_from_slice(&producer.vertex.subtask.to_be_bytes());
    writer.0.push(0x73);
    writer.class(&name("jobgraph.JobVertexID"), 1, 2, &[]);
    writer.reference(abstract_id);
    writer.0.extend_from_slice(&producer.vertex.job_vertex.0);
    writer.0
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_exception_that_was_written_is_read() {
        let (exception, used) = read(&[&io_exception("déjà 😀")[..], b"rest"].concat()).unwrap();
        assert_eq!(exception.to_string(), "java.io.IOException: déjà 😀");
        assert_eq!(used, io_exception("déjà 😀").len());
    }

    #[test]
    fn a_message_over_its_length_field_is_cut() {
        let bytes = io_exception(&"水".repeat(30_000));
        assert_eq!(read(&bytes).unwrap().0.message.unwrap(), "水".repeat(6666));
    }

    #[test]
    fn garbage_is_no_exception_and_ends() {
        const MANY: usize = if cfg!(miri) { 100 } else { 100_000 };
        let good = io_exception("x");
        for len in 0..good.len() {
            assert!(read(&good[..len]).is_none(), "cut at {len}");
        }
        // Objects in objects; a long chain of classes that many objects name.
        assert!(read(&[&HEADER.to_be_bytes()[..], &vec![0x73; 10 * MANY]].concat()).is_none());
        let mut bomb = Writer(HEADER.to_be_bytes().to_vec());
        bomb.0.push(0x75);
        bomb.class("[L", 0, 2, &[]);
        bomb.0.extend_from_slice(&[0x70, 0x7F, 0xFF, 0xFF, 0xFF]);
        bomb.0.push(0x73);
        (0..200).for_each(|_| bomb.class("c", 0, 2, &[]));
        bomb.0.push(0x70);
        for _ in 0..MANY {
            bomb.0.push(0x73);
            bomb.reference(2);
        }
        assert!(read(&bomb.0).is_none());
    }
}
