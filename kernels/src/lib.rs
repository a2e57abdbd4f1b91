//! GPU kernels: the codec's bitstream and the engine's attention on a device, found and loaded at run time.
//!
//! No machine needs CUDA to build or start the programs: libraries are opened when a [`Device`] is asked for, and their
//! absence is an answer. So far the crate finds and names the device; kernels come with their CPU twins and parity tests.
#![allow(unsafe_code, reason = "cudarc loads the CUDA libraries")]

use std::sync::Arc;

use cudarc::driver::{CudaContext, DriverError};

/// Why there is no device to run on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine has no CUDA driver.
    #[error("no GPU: the CUDA driver library (libcuda) is not on this machine")]
    NoDriver,
    /// There is a driver, but it gives no such device.
    #[error("no GPU {ordinal}: {reason}")]
    NoDevice {
        /// The device asked for.
        ordinal: usize,
        /// What the driver says.
        reason: DriverError,
    },
}

/// A GPU, opened.
#[derive(Debug)]
pub struct Device {
    context: Arc<CudaContext>,
}

impl Device {
    /// Opens the device with this ordinal.
    ///
    /// # Errors
    /// [`Error::NoDriver`] where there is no CUDA driver, [`Error::NoDevice`] where it has no such device.
    ///
    /// # Examples
    /// ```
    /// match kvdepot_kernels::Device::open(0) {
    ///     Ok(device) => println!("GPU 0 has {} bytes", device.memory_bytes().unwrap_or(0)),
    ///     Err(why) => println!("{why}"),
    /// }
    /// ```
    pub fn open(ordinal: usize) -> Result<Self, Error> {
        // SAFETY: only tries to open a shared library; its initializers are the driver's own.
        if !unsafe { cudarc::driver::sys::is_culib_present() } {
            return Err(Error::NoDriver);
        }
        let context = CudaContext::new(ordinal).map_err(|reason| Error::NoDevice { ordinal, reason })?;
        Ok(Self { context })
    }

    /// The name that the driver gives the device.
    ///
    /// # Errors
    /// What the driver says.
    pub fn name(&self) -> Result<String, DriverError> {
        self.context.name()
    }

    /// Memory of the device.
    ///
    /// # Errors
    /// What the driver says.
    pub fn memory_bytes(&self) -> Result<usize, DriverError> {
        self.context.total_mem()
    }
}
