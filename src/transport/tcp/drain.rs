//! The end of a connection's queue: nothing that was sent to it is lost in silence.

use tokio::sync::mpsc::{UnboundedReceiver, error::TryRecvError};

/// Takes no more, and gives what is there to `each`: whoever sends from now on has it back. Blocking for a moment, on a
/// thread that is half through with sending.
pub(super) fn close_and_drain<T>(receiver: &mut UnboundedReceiver<T>, mut each: impl FnMut(T)) {
    receiver.close();
    loop {
        match receiver.try_recv() {
            Ok(sent) => each(sent),
            Err(TryRecvError::Empty) => std::thread::yield_now(),
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[test]
    fn what_was_sent_is_found_and_what_comes_later_goes_back() {
        let (sender, mut receiver) = unbounded_channel();
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        let mut found = Vec::new();
        close_and_drain(&mut receiver, |sent| found.push(sent));
        assert_eq!(found, [1, 2], "though the sender is still there");
        assert_eq!(sender.send(3).unwrap_err().0, 3);
    }
}
