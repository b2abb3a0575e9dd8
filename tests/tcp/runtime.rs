//! Server and client on the runtime of those who write and read.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use forebay::{
    gate::{ReadError, RecordReader},
    partition::{Forward, RecordWriter, ResultPartition, WriteError},
    pool::NetworkBufferPool,
    transport::tcp::{ChannelError, Client, Failure, RemotePartition, ServedPartition, Server, TcpOptions},
};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{
    support::{LONG, channel_error, gate, id, pool, record, remote, wait_until, with_sources},
    tls::ours,
};

const RECORDS: u64 = 2000;
const SIZE: usize = 100;

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn pair(runtime: &Handle) -> (Server, Client) {
    let server = Server::builder().runtime(runtime.clone()).start("127.0.0.1:0").unwrap();
    (server, Client::builder().runtime(runtime.clone()).start().unwrap())
}

fn serve(server: &Server, pool: &NetworkBufferPool, number: u8) -> (ResultPartition, ServedPartition) {
    let producer = pool.local_pool("producer").required(2).maximum(4).build().unwrap();
    server.serve(id(number), producer, 1).unwrap()
}

/// Flushes each record, and waits for readers as a task.
async fn write(partition: ResultPartition, records: u64) -> Result<(), WriteError> {
    let mut writer = RecordWriter::new(partition, Forward);
    for number in 0..records {
        writer.emit_async(&record(number, SIZE)[..]).await?;
        writer.flush();
    }
    poll_fn(|context| writer.poll_close(context)).await
}

/// Writes on a thread until that fails.
fn write_until_told(partition: ResultPartition) -> WriteError {
    let mut writer = RecordWriter::new(partition, Forward);
    loop {
        if let Err(error) = writer.emit(&record(0, SIZE)[..]) {
            return error;
        }
    }
}

/// The next record is the one of that `number`; `false` at the end.
async fn is_next(reader: &mut RecordReader, number: u64) -> Result<bool, ReadError> {
    poll_fn(|context| {
        reader.poll_next(context).map_ok(|found| {
            found.is_some_and(|found| {
                assert_eq!(found.bytes(), record(number, SIZE));
                true
            })
        })
    })
    .await
}

async fn read(mut reader: RecordReader) -> Result<u64, Arc<ChannelError>> {
    let mut count = 0;
    while is_next(&mut reader, count).await.map_err(channel_error)? {
        count += 1;
    }
    Ok(count)
}

/// Reads on from the record of that `number` to the failure that ends its channel.
async fn failure_after(reader: &mut RecordReader, mut number: u64) -> Arc<ChannelError> {
    loop {
        match is_next(reader, number).await {
            Ok(more) => assert!(more, "an end without one"),
            Err(error) => return channel_error(error),
        }
        number += 1;
    }
}

/// All segments are home, once tasks that were dropped have let go of theirs.
fn all_home(pool: &NetworkBufferPool) {
    wait_until(|| (pool.in_use() == 0).then_some(()));
}

#[test]
fn writer_reader_and_network_share_one_thread() {
    let pool = pool(32);
    let runtime = current_thread();
    runtime.block_on(async {
        let (server, client) = pair(&Handle::current());
        let (partition, served) = serve(&server, &pool, 1);
        let reader = RecordReader::new(gate(&client, &pool, &[remote(&server, 1, 0)]), 1024);
        let writing = tokio::spawn(write(partition, RECORDS));
        let reading = tokio::spawn(read(reader));
        assert_eq!(reading.await.unwrap().unwrap(), RECORDS);
        writing.await.unwrap().unwrap();
        served.wait_acknowledged_async().await;
        served.wait_released_async().await;
        server.shutdown_async().await;
    });
    drop(runtime);
    all_home(&pool);
}

#[test]
fn several_threads_of_a_runtime_will_do_too() {
    let pool = pool(64);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (server, client) = pair(&Handle::current());
        let tasks: Vec<_> = (0..4)
            .map(|number| {
                let (partition, _) = serve(&server, &pool, number);
                let reader = RecordReader::new(gate(&client, &pool, &[remote(&server, number, 0)]), 1024);
                (tokio::spawn(write(partition, RECORDS)), tokio::spawn(read(reader)))
            })
            .collect();
        for (writing, reading) in tasks {
            writing.await.unwrap().unwrap();
            assert_eq!(reading.await.unwrap().unwrap(), RECORDS);
        }
    });
    drop(runtime);
    all_home(&pool);
}

#[test]
fn a_runtime_that_goes_in_the_middle_is_told_to_both_sides() {
    let pool = pool(32);
    let network = current_thread();
    let (server, client) = pair(network.handle());
    let (partition, served) = serve(&server, &pool, 1);
    let (never_read, unread) = serve(&server, &pool, 2);
    let mut reader = RecordReader::new(gate(&client, &pool, &[remote(&server, 1, 0)]), 1024);
    let writing = std::thread::spawn(move || write_until_told(partition));
    network.block_on(async {
        for _ in 0..100 {
            assert!(is_next(&mut reader, 0).await.unwrap());
        }
    });
    drop(network);
    let error = loop {
        match reader.next() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("an end without one"),
            Err(error) => break channel_error(error),
        }
    };
    assert!(matches!(error.failure, Failure::ShutDown), "{error}");
    assert!(matches!(writing.join().unwrap(), WriteError::Released { .. }));
    assert!(served.wait_released(LONG) && unread.wait_released(LONG), "nobody is left, and nobody will come");

    // What comes afterwards is told the same at once.
    assert!(matches!(write_until_told(never_read), WriteError::Released { .. }));
    let (partition, served) = serve(&server, &pool, 3);
    assert!(matches!(write_until_told(partition), WriteError::Released { .. }));
    assert!(served.wait_released(LONG));
    let mut reader = RecordReader::new(gate(&client, &pool, &[remote(&server, 3, 0)]), 1024);
    let error = channel_error(reader.next().map(|_| ()).unwrap_err());
    assert!(matches!(error.failure, Failure::ShutDown), "{error}");
    drop((reader, server, client));
    all_home(&pool);
}

#[test]
fn a_client_that_goes_while_it_connects_is_told_to_its_readers() {
    let pool = pool(32);
    let runtime = current_thread();
    let client = Client::builder().runtime(runtime.handle().clone()).start().unwrap();
    let nobody = RemotePartition::new("127.0.0.1:1", id(1), 0);
    let mut never_ran = RecordReader::new(gate(&client, &pool, &[nobody]), 1024);
    drop(client);
    runtime.block_on(async {
        let error = poll_fn(|context| never_ran.poll_next(context).map_ok(|_| ())).await.unwrap_err();
        assert!(matches!(channel_error(error).failure, Failure::ShutDown));
    });
    drop(never_ran);
    all_home(&pool);
}

#[test]
fn a_server_that_is_dropped_waits_for_nobody_and_tells_everybody() {
    let pool = pool(32);
    let runtime = current_thread();
    runtime.block_on(async {
        let (server, client) = pair(&Handle::current());
        let (partition, _) = serve(&server, &pool, 1);
        let (never_read, _) = serve(&server, &pool, 2);
        let mut reader = RecordReader::new(gate(&client, &pool, &[remote(&server, 1, 0)]), 1024);
        let writing = tokio::spawn(write(partition, u64::MAX));
        assert!(is_next(&mut reader, 0).await.unwrap());
        drop(server); // on the only thread that could close its connections
        assert!(matches!(writing.await.unwrap(), Err(WriteError::Released { .. })));
        assert!(matches!(write(never_read, u64::MAX).await, Err(WriteError::Released { .. })));
        let error = failure_after(&mut reader, 1).await;
        assert!(matches!(error.failure, Failure::Closed | Failure::Lost(_)), "{error}");
    });
    drop(runtime);
    all_home(&pool);
}

#[test]
fn a_client_that_is_dropped_ends_its_channels_in_order() {
    let pool = pool(32);
    let runtime = current_thread();
    runtime.block_on(async {
        let (server, client) = pair(&Handle::current());
        let (partition, served) = serve(&server, &pool, 1);
        let mut reader = RecordReader::new(gate(&client, &pool, &[remote(&server, 1, 0)]), 1024);
        let writing = tokio::spawn(write(partition, u64::MAX));
        assert!(is_next(&mut reader, 0).await.unwrap());
        drop(client);
        assert!(matches!(writing.await.unwrap(), Err(WriteError::Released { .. })));
        served.wait_released_async().await;
        let error = failure_after(&mut reader, 1).await;
        assert!(matches!(error.failure, Failure::ShutDown), "{error}");
        server.shutdown_async().await;
    });
    drop(runtime);
    all_home(&pool);
}

#[test]
fn a_shutdown_sends_what_there_is_first() {
    let pool = pool(32);
    let runtime = current_thread();
    runtime.block_on(async {
        let (server, client) = pair(&Handle::current());
        let (partition, _) = serve(&server, &pool, 1);
        let mut reader = RecordReader::new(gate(&client, &pool, &[remote(&server, 1, 0)]), 1024);
        let writing = tokio::spawn(write(partition, RECORDS));
        assert!(is_next(&mut reader, 0).await.unwrap());
        let mut shutdown = Box::pin(server.shutdown_async());
        let pending = shutdown.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(pending, Poll::Pending, "its channel has not ended");
        let rest = async {
            let mut count = 1;
            while is_next(&mut reader, count).await.unwrap() {
                count += 1;
            }
            count
        };
        assert_eq!(rest.await, RECORDS);
        writing.await.unwrap().unwrap();
        shutdown.await;
    });
    drop(runtime);
    all_home(&pool);
}

#[test]
#[should_panic(expected = "timers are disabled")]
fn a_runtime_without_timers_is_refused_where_it_is_given() {
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    let _ = Client::builder().runtime(runtime.handle().clone()).start();
}

#[test]
fn a_server_does_not_start_on_a_runtime_that_has_ended() {
    let handle = current_thread().handle().clone();
    let error = Server::builder().runtime(handle).start("127.0.0.1:0").unwrap_err();
    assert!(with_sources(&error).contains("shut"), "{error:?}");
}

/// The server's runtime stands still while the second record is flushed: who flushes it writes it, or nobody does.
#[test]
fn who_flushes_writes_unless_that_is_switched_off() {
    for (inline, tls) in [(true, false), (true, true), (false, false), (false, true)] {
        let (runtime, pool) = (current_thread(), pool(32));
        let mut options = TcpOptions::default();
        options.inline_flush = inline;
        let mut server = Server::builder().options(options).runtime(runtime.handle().clone());
        let mut client = Client::builder();
        if tls {
            (server, client) = (server.tls(ours().config()), client.tls(ours().config()));
        }
        let (server, client) = (server.start("127.0.0.1:0").unwrap(), client.start().unwrap());
        let (partition, _served) = serve(&server, &pool, 1);
        let mut reader = RecordReader::new(gate(&client, &pool, &[remote(&server, 1, 0)]), 1024);
        let mut writer = RecordWriter::new(partition, Forward);
        for number in 0..2 {
            let (before, asleep) = (server.sent().calls, Instant::now());
            while asleep.elapsed() < Duration::from_micros(20) {
                std::hint::spin_loop(); // a flush that comes sooner is the task's
            }
            writer.emit(&record(number, SIZE)[..]).unwrap();
            writer.flush();
            assert_eq!(server.sent().calls - before, u64::from(inline && number > 0));
            assert!(runtime.block_on(is_next(&mut reader, number)).unwrap());
        }
    }
}
