//! `kvdepot-engine device`.

use std::fmt;

use kvdepot_kernels::Device;
use serde::Serialize;

use super::report::Outcome;

#[derive(Debug, clap::Args)]
pub(super) struct DeviceArgs {
    /// Which GPU
    #[arg(long, value_name = "N", default_value_t = 0)]
    ordinal: usize,
}

/// The GPU, or why there is none.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    name: Option<String>,
    memory_bytes: Option<usize>,
    reason: Option<String>,
}

impl DeviceArgs {
    pub(super) fn run(&self) -> Found {
        match Device::open(self.ordinal) {
            Ok(device) => Found { name: device.name().ok(), memory_bytes: device.memory_bytes().ok(), reason: None },
            Err(error) => Found { name: None, memory_bytes: None, reason: Some(error.to_string()) },
        }
    }
}

impl Outcome for Found {}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{reason}; everything runs on the CPU"),
            None => {
                let name = self.name.as_deref().unwrap_or("unnamed");
                write!(f, "{name}, {}", indicatif::HumanBytes(self.memory_bytes.unwrap_or(0) as u64))
            }
        }
    }
}
