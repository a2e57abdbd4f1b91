//! Where a depot listens for receivers on its own host.

use std::path::PathBuf;

use kvdepot_proto::v1;

/// Longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 64;

/// What the control plane says of the local plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// Path of its socket.
    pub socket: PathBuf,
    /// What to show there: only the daemon that announced it knows it.
    pub token: Vec<u8>,
}

impl Announced {
    /// The announcement, if it is of this host.
    pub fn of_this_host(message: v1::LocalPlane) -> Option<Self> {
        let is_usable = !message.socket.is_empty() && message.token.len() <= MAX_TOKEN_BYTES;
        let is_here = host_id().is_some_and(|id| id == message.host_id);
        (is_usable && is_here).then(|| Self { socket: message.socket.into(), token: message.token })
    }
}

/// What tells this host, since it started, from every other one.
pub fn host_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_announced_on_this_host_is_used() {
        let here =
            v1::LocalPlane { socket: "/depot/fetch.sock".to_owned(), host_id: host_id().unwrap(), token: vec![1; 16] };
        assert!(Announced::of_this_host(here.clone()).is_some());
        let elsewhere = v1::LocalPlane { host_id: "another".to_owned(), ..here.clone() };
        let endless = v1::LocalPlane { token: vec![1; MAX_TOKEN_BYTES + 1], ..here };
        for refused in [elsewhere, endless, v1::LocalPlane::default()] {
            assert_eq!(Announced::of_this_host(refused), None);
        }
    }
}
