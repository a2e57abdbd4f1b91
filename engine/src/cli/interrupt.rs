//! Ctrl-C: the first asks for an end, the second is one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

/// What a shell gives for a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// A flag that the first SIGINT sets; the second ends the program.
pub(super) fn watch() -> anyhow::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot watch for signals")?;
    // The handler is there before anything runs, not only once the thread does.
    let mut signals = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).context("cannot watch for signals")?
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            signals.recv().await;
            flag.store(true, Ordering::Relaxed);
            eprintln!("stopping: what has begun is run to its end; again to end at once");
            signals.recv().await;
            std::process::exit(INTERRUPTED);
        });
    });
    Ok(interrupted)
}
