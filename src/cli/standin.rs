//! Stand-in for the exchange until it lands: same names, no memory management at all.
#![allow(missing_docs, clippy::all, clippy::pedantic)]
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::rows::Row;

pub enum Sel {
    Hash,
    RoundRobin,
    Broadcast,
}
enum Msg {
    Data(Vec<u8>),
    End,
    Fail(String),
}
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("reader {channel} is gone")]
    Released { channel: usize },
}
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("producer failed: {cause}")]
    ProducerFailed { cause: String },
}
pub struct RecordWriter {
    out: Vec<SyncSender<Msg>>,
    sel: Sel,
    next: usize,
}
impl RecordWriter {
    pub fn emit(&mut self, row: &Row<'_>) -> Result<(), WriteError> {
        let n = self.out.len();
        let one =
            |i: usize| self.out[i].send(Msg::Data(row.bytes.to_vec())).map_err(|_| WriteError::Released { channel: i });
        match self.sel {
            Sel::Broadcast => {
                for i in 0..n {
                    one(i)?;
                }
            }
            Sel::RoundRobin => {
                one(self.next)?;
                self.next = (self.next + 1) % n;
            }
            Sel::Hash => {
                let h = row.key.iter().fold(7usize, |h, b| h.wrapping_mul(31).wrapping_add(*b as usize));
                one(h % n)?;
            }
        }
        Ok(())
    }
    pub fn close(&mut self) -> Result<(), WriteError> {
        for (channel, o) in self.out.iter().enumerate() {
            o.send(Msg::End).map_err(|_| WriteError::Released { channel })?;
        }
        Ok(())
    }
    pub fn fail(&mut self, cause: &str) {
        for o in &self.out {
            let _ = o.try_send(Msg::Fail(cause.into()));
        }
    }
    pub fn back_pressured(&self) -> Duration {
        Duration::ZERO
    }
}
pub struct RecordReader {
    rx: Receiver<Msg>,
    open: usize,
    cur: Vec<u8>,
}
impl RecordReader {
    pub fn next(&mut self) -> Result<Option<&[u8]>, ReadError> {
        while self.open > 0 {
            match self.rx.recv() {
                Ok(Msg::Data(d)) => {
                    self.cur = d;
                    return Ok(Some(&self.cur));
                }
                Ok(Msg::End) => self.open -= 1,
                Ok(Msg::Fail(cause)) => return Err(ReadError::ProducerFailed { cause }),
                Err(_) => return Err(ReadError::ProducerFailed { cause: "gone".into() }),
            }
        }
        Ok(None)
    }
    pub fn idle(&self) -> Duration {
        Duration::ZERO
    }
}
pub fn in_process(p: usize, n: usize, mk: impl Fn() -> Sel) -> (Vec<RecordWriter>, Vec<RecordReader>) {
    let (tx, rx): (Vec<_>, Vec<_>) = (0..n).map(|_| sync_channel(64)).unzip();
    let writers = (0..p).map(|_| RecordWriter { out: tx.clone(), sel: mk(), next: 0 }).collect();
    (writers, rx.into_iter().map(|rx| RecordReader { rx, open: p, cur: vec![] }).collect())
}
