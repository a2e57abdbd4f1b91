//! A receiver that stops reading costs the daemon a bounded share of memory and nobody else anything; what one that vanishes
//! held is free again.

use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};

use kvdepot_client::{Client, ErrorKind, Extent, FetchEvent};
use kvdepot_proto::ChunkId;
use kvdepot_tests::{DepotProcess, Noise, poll};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Far more than the windows of a connection and the queues of a client hold.
const MIB: usize = 256;
const STALLED: usize = 4;
/// What the daemon may hold for each: 32 MiB and a batch, which is a chunk.
const SHARE_BYTES: u64 = (32 + Noise::CHUNK_MIB as u64) << 20;
/// What its allocator and its store may have kept meanwhile.
const SLACK_BYTES: u64 = 128 << 20;

/// A depot with one large context in it.
struct Stored {
    _dir: TempDir,
    depot: DepotProcess,
    noise: Noise,
    last_id: ChunkId,
}

impl Stored {
    async fn put(mib: usize) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let depot = DepotProcess::start(dir.path(), &[])?;
        let noise = Noise::of_mib(mib, 5)?;
        let client = Client::connect(&depot.connect_options()).await?;
        let ids = client.put(&noise.scope()?, &noise.tokens, &noise.chunks, |_| ()).await?.chunk_ids;
        let last_id = *ids.last().expect("a context has chunks");
        Ok(Self { _dir: dir, depot, noise, last_id })
    }

    async fn assert_whole(&self, client: &Client) -> anyhow::Result<()> {
        let report = client.fetch(&self.noise.request()?, |_| Ok(())).await?;
        assert_eq!(report.payload_bytes, self.noise.stored_bytes());
        Ok(())
    }

    /// A receiver on a runtime of its own that stops at its first segment, until the gate opens or its runtime goes.
    fn stall(&self, gate: &Arc<Gate>) -> anyhow::Result<Runtime> {
        let runtime = Runtime::new()?;
        let (options, request, gate) = (self.depot.connect_options(), self.noise.request()?, Arc::clone(gate));
        let (stalled, has_stalled) = mpsc::channel();
        runtime.spawn(async move {
            let client = Client::connect(&options).await?;
            let fetch = client.fetch(&request, |event| {
                if let FetchEvent::Segment(_) = event {
                    // The test may have ended.
                    let _ = stalled.send(());
                    gate.wait();
                }
                Ok(())
            });
            fetch.await
        });
        has_stalled.recv()?;
        Ok(runtime)
    }
}

/// What stalled receivers wait for.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn wait(&self) {
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(is_open, |is_open| !*is_open));
    }

    fn open(&self) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_stop_reading_leave_the_daemon_to_the_others() -> anyhow::Result<()> {
    let stored = Stored::put(MIB).await?;
    let client = Client::connect(&stored.depot.connect_options()).await?;
    stored.assert_whole(&client).await?;
    let before = stored.depot.resident_bytes()?;
    let gate = Arc::new(Gate::default());
    let stalled = (0..STALLED).map(|_| stored.stall(&gate)).collect::<anyhow::Result<Vec<_>>>()?;
    for _ in 0..3 {
        stored.assert_whole(&client).await?;
    }
    let grown = stored.depot.resident_bytes()?.saturating_sub(before);
    println!("{STALLED} receivers that do not read: {} MiB more", grown >> 20);
    gate.open();
    stalled.into_iter().for_each(Runtime::shutdown_background);
    assert!(grown <= STALLED as u64 * SHARE_BYTES + SLACK_BYTES, "{grown} bytes");
    Ok(())
}

#[test]
fn what_a_receiver_that_vanishes_held_is_free_once_its_silence_is_noticed() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let stored = runtime.block_on(Stored::put(MIB))?;
    let client = runtime.block_on(Client::connect(&stored.depot.connect_options()))?;
    let delete = || runtime.block_on(client.delete(&[stored.last_id], Extent::Context));
    let gate = Arc::new(Gate::default());
    let receiver = stored.stall(&gate)?;
    assert_eq!(delete().expect_err("it is being fetched").kind(), ErrorKind::Busy);
    // Without a runtime nothing says goodbye.
    receiver.shutdown_background();
    gate.open();
    let deleted = poll("the daemon to notice", || match delete() {
        Err(error) if error.kind() == ErrorKind::Busy => Ok(None),
        deleted => Ok(Some(deleted?)),
    })?;
    assert_eq!(deleted.deleted_chunks as usize, stored.noise.chunks.len());
    Ok(())
}
